"""What files of models say of themselves, read without the packages that made them."""
