"""What goes wrong outside the program: one class that the command line turns into one line."""


class InputError(ValueError):
    """A file, folder, option or environment that cannot be used; the message says what, why and what to do."""
