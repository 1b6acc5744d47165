"""Proofs without training: the certificate, the identities, the probes of an encoding."""
