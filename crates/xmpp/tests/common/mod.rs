//! What the tests of the tokenizer share.

pub(crate) mod oracles;
