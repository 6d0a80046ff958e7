"""Models and images made to do harm, run through the command line: none of them does."""
