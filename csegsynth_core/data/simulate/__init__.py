"""A virtual cohort: people who do not exist, with features, volumes, brains, and the truth about them.

    features.py  the 198 features and one structural equation for each
    effects.py   what changes a brain's volumes, by how much, and who says so
    people.py    noise → features → volumes; counterfactuals; derivatives
    template.py  the sharpened ICBM152 average
    anatomy.py   volumes → a brain that has them
    cohort.py    the command: folders, tables, truth; what features explain at best
    montage.py   one picture of twenty brains
    describe.py  the model's tables for assets/simulation.md

Everything in it is made up: see `assets/simulation.md`.
"""
