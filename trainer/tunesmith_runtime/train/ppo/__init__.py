"""Proximal policy optimisation of language models.

After Schulman et al. 2017 (arXiv:1707.06347), and as language models use it since Ziegler et al. 2019
(arXiv:1909.08593) and Stiennon et al. 2020 (arXiv:2009.01325): a score at an answer's last token, and a penalty at each
token for leaving the model that training began with.
"""
