//! Every extension in a whole router over a store in memory, without sockets: scenarios as text, and laws over the list.

mod harness;
mod laws;
mod pattern;
mod scenarios;
