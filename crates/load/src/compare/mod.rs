//! Several servers in one run, side by side.
