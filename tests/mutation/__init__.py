"""Changes the code at random places, and asks whether the tests notice."""
