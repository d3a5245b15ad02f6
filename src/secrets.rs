//! Passwords, tokens, and the sealing of cells.
