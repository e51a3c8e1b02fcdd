"""What is no longer true."""


class Stale(Exception):
    """A line of a page that its program would not take, or a block that does not run, with the reason."""
