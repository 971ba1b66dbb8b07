//! Two machines joined in virtual time.
