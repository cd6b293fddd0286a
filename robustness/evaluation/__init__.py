"""What is asked of models about perturbed pictures, and the loop that asks it."""
