//! Between forms (XEP-0004) and a command's arguments and results, both JSON.

use nuncio_router::commands::{Arg, ArgKind, Command};
use nuncio_xmpp::ns;
use nuncio_xmpp::payload::{Field, FieldType, Form, FormType};
use nuncio_xmpp::xml::Builder;
use serde_json::{Map, Value};

use super::admin::{self, Dress};

/// A note: its type (XEP-0050 §4.3) and its text.
type Note = (&'static str, String);

/// What the requester gets.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) notes: Vec<Note>,
    pub(super) forms: Vec<Builder>,
}

impl Outcome {
    fn done() -> Self {
        Self { notes: vec![("info", "Done.".to_owned())], forms: Vec::new() }
    }
}

/// How a command looks: as its schema says, or as XEP-0133 does.
pub(super) enum Face {
    Plain,
    Dressed(&'static Dress),
}

impl Face {
    pub(super) fn of(command: &Command) -> Self {
        admin::DRESSES.iter().find(|dress| dress.command == command.name).map_or(Self::Plain, Self::Dressed)
    }

    /// The form to be filled in; without fields if there is nothing to ask.
    pub(super) fn form(&self, command: &Command) -> Form {
        let form_type = match self {
            Self::Plain => command.node.unwrap_or(command.name),
            Self::Dressed(_) => ns::ADMIN,
        };
        let fields: Vec<Field> = match self {
            Self::Plain => command.args.iter().map(plain).collect(),
            Self::Dressed(dress) => dress.fields.iter().map(admin::Asked::field).collect(),
        };
        if fields.is_empty() {
            return Form::new(FormType::Form);
        }
        fields.into_iter().fold(Form::typed(FormType::Form, form_type), Form::field)
    }

    /// The arguments that a submitted form means: those of each run.
    pub(super) fn arguments(
        &self,
        command: &Command,
        form: &Form,
    ) -> Result<Vec<Map<String, Value>>, String> {
        match self {
            Self::Plain => {
                let mut args = Map::new();
                for arg in command.args {
                    if let Some(value) = read(arg, form.values(arg.name))? {
                        args.insert(arg.name.to_owned(), value);
                    }
                }
                Ok(vec![args])
            }
            Self::Dressed(dress) => dress.arguments(command, form),
        }
    }

    /// What came of all runs that were done.
    pub(super) fn outcome(&self, done: &[Value]) -> Outcome {
        let shown = |value: &Value| match self {
            Self::Plain => table(value).map(|form| form.builder()),
            Self::Dressed(dress) => dress.result(value),
        };
        let forms: Vec<Builder> = done.iter().filter_map(shown).collect();
        if forms.is_empty() { Outcome::done() } else { Outcome { notes: Vec::new(), forms } }
    }
}

fn plain(arg: &Arg) -> Field {
    let kind = match arg.kind {
        ArgKind::Account | ArgKind::Address => FieldType::JidSingle,
        ArgKind::Text => FieldType::TextMulti,
        ArgKind::Secret => FieldType::TextPrivate,
        ArgKind::Flag => FieldType::Boolean,
        ArgKind::Number => FieldType::TextSingle,
    };
    let field = Field::new(kind, arg.name).label(arg.label);
    if arg.required { field.required() } else { field }
}

/// The value of an argument from the values of a field. Empty means that it was not filled in.
pub(super) fn read(arg: &Arg, values: &[String]) -> Result<Option<Value>, String> {
    let text = values.join("\n");
    if text.is_empty() {
        return Ok(None);
    }
    let value = match arg.kind {
        ArgKind::Account | ArgKind::Address | ArgKind::Text | ArgKind::Secret => Value::from(text),
        ArgKind::Flag => match text.as_str() {
            "1" | "true" => Value::from(true),
            "0" | "false" => Value::from(false),
            _ => return Err(format!("field {} is not a boolean", arg.name)),
        },
        ArgKind::Number => {
            let number: u64 =
                text.trim().parse().map_err(|_| format!("field {} is not a number", arg.name))?;
            Value::from(number)
        }
    };
    Ok(Some(value))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A result as a form: what has one value as fields, a list of objects as a table. None if there is nothing to show.
fn table(value: &Value) -> Option<Form> {
    let object = value.as_object().filter(|object| !object.is_empty())?;
    let mut form = Form::new(FormType::Result);
    for (name, value) in object {
        let Some(rows) = value.as_array() else {
            form = form.field(Field::new(FieldType::TextSingle, name).label(name).value(text(value)));
            continue;
        };
        if rows.iter().all(Value::is_string) {
            let lines = rows.iter().map(text);
            form = form.field(Field::new(FieldType::TextMulti, name).label(name).values(lines));
            continue;
        }
        // A form has one table (XEP-0004 §3.4): the first list that has anything in it.
        if !form.items.is_empty() {
            continue;
        }
        let rows: Vec<&Map<String, Value>> = rows.iter().filter_map(Value::as_object).collect();
        if let Some(first) = rows.first() {
            form.reported =
                first.keys().map(|name| Field::new(FieldType::TextSingle, name).label(name)).collect();
        }
        let cells = |row: &Map<String, Value>| {
            row.iter()
                .map(|(name, value)| Field { var: Some(name.clone()), ..Field::default() }.value(text(value)))
                .collect()
        };
        form.items = rows.into_iter().map(cells).collect();
    }
    Some(form)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_becomes_a_table_and_the_rest_fields() {
        let form =
            table(&json!({"seconds": 3, "rows": [{"a": 1, "b": "x"}, {"a": true, "b": null}]})).unwrap();
        assert_eq!(form.value("seconds"), Some("3"));
        let names: Vec<_> = form.reported.iter().filter_map(|field| field.var.as_deref()).collect();
        assert_eq!(names, ["a", "b"]);
        let cells: Vec<Vec<_>> =
            form.items.iter().map(|row| row.iter().map(|field| field.values.concat()).collect()).collect();
        assert_eq!(cells, [["1", "x"], ["true", ""]]);
        assert_eq!(table(&json!({})), None);
        let form = table(&json!({"a": [{"b": 1}], "c": [{"d": 2}], "says": ["one", "two"]})).unwrap();
        assert_eq!(form.values("says"), ["one", "two"]);
        assert_eq!(form.reported.iter().filter_map(|field| field.var.as_deref()).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn values_are_read_by_the_type_of_their_argument() {
        let of = |kind| Arg { name: "x", label: "", kind, required: false };
        let read = |kind, values: &[&str]| {
            let values: Vec<_> = values.iter().map(|value| (*value).to_owned()).collect();
            read(&of(kind), &values)
        };
        assert_eq!(read(ArgKind::Text, &["a", "b"]), Ok(Some(json!("a\nb"))));
        assert_eq!(read(ArgKind::Text, &[]), Ok(None));
        assert_eq!(read(ArgKind::Text, &[""]), Ok(None));
        assert_eq!(read(ArgKind::Flag, &["1"]), Ok(Some(json!(true))));
        assert_eq!(read(ArgKind::Number, &[" 7 "]), Ok(Some(json!(7))));
        assert!(read(ArgKind::Flag, &["yes"]).is_err());
        assert!(read(ArgKind::Number, &["-1"]).is_err());
    }
}
