//! Payloads that more than one extension speaks. Each has a reading (`parse`, lenient about what it does not know) and a writing
//! (`builder`).

pub mod caps;
pub mod datetime;
pub mod delay;
pub mod disco;
pub mod forms;
pub mod forwarded;
pub mod rsm;
#[cfg(test)]
mod tests;

pub use caps::Caps;
pub use delay::Delay;
pub use disco::{Identity, Info, Item, Items};
pub use forms::{Field, FieldType, Form, FormType};
pub use forwarded::Forwarded;
pub use rsm::{Page, Request, Set};
