"""What it takes to run Leeside; the one package in here, devtool, is what `./dev` does."""
