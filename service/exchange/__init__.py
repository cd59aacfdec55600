"""Studies in the forms of other optimizers, Optuna's and SMAC's: written for their tools, and read to begin from."""
