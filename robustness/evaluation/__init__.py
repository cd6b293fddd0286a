"""What is asked of models about perturbed images, and the loop that asks it."""
