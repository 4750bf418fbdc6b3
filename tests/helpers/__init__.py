"""What several tests share; `tests/` is on the path (conftest.py is there), so `import helpers`."""
