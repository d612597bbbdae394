"""The commands of `aoray`, by what they are about; `aoray.cli.main` gathers them."""
