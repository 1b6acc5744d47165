from pebench.encodings.extension import NTK, Retuned, method, ntk


@method("ntk_dynamic", within=True, dynamic=True)
class DynamicNTK(Retuned):
    """NTK-aware base with the factor of each text: its length over the training length, at least 1 (emozilla, 2023).

    The room for the answer counts as text, so one factor holds from the first token to the last. Keys in the cache stay
    valid, and decoding equals a whole forward pass. Hugging Face transformers changes the base while it decodes, and
    keeps the older keys as they were turned.
    """

    title = "NTK-aware base, dynamic"
    paper = "emozilla, 2023"
    formula = NTK.formula + r",\quad s = \max(1, T / L)"
    change = staticmethod(ntk)
