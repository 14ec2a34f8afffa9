"""What is said of the eigenvalues of an operator."""
