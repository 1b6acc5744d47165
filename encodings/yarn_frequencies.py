from pebench.encodings.extension import Retuned, method, yarn


@method("yarn_frequencies")
class YaRNFrequencies(Retuned):
    """YaRN's frequencies without its temperature: NTK-by-parts (Peng et al., 2024, section 3.2)."""

    title = "YaRN without its temperature"
    paper = "arXiv:2309.00071"
    formula = r"\theta_m \mapsto (1 - \gamma_m)\, \theta_m + \gamma_m\, \theta_m / s"
    change = staticmethod(yarn)
