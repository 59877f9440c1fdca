"""How the embedded model was made, and how good a model is: see README.md beside this file."""
