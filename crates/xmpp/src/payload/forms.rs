//! Data forms (XEP-0004), with `FORM_TYPE` (XEP-0068).

use crate::ns;
use crate::xml::{Builder, ElementRef};

/// The types of forms (XEP-0004 §3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FormType {
    /// To be filled in.
    #[default]
    Form,
    /// Filled in.
    Submit,
    /// Not filled in: the submission is cancelled.
    Cancel,
    /// Data that was asked for.
    Result,
}

impl FormType {
    /// The value of `type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Submit => "submit",
            Self::Cancel => "cancel",
            Self::Result => "result",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Form, Self::Submit, Self::Cancel, Self::Result].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// The types of fields (XEP-0004 §3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldType {
    /// `0`, `1`, `false` or `true`.
    Boolean,
    /// A text to read.
    Fixed,
    /// Not shown.
    Hidden,
    /// JIDs.
    JidMulti,
    /// One JID.
    JidSingle,
    /// Some of the options.
    ListMulti,
    /// One of the options.
    ListSingle,
    /// Lines of text.
    TextMulti,
    /// One line that is not shown.
    TextPrivate,
    /// One line of text.
    TextSingle,
}

impl FieldType {
    const ALL: [Self; 10] = [
        Self::Boolean,
        Self::Fixed,
        Self::Hidden,
        Self::JidMulti,
        Self::JidSingle,
        Self::ListMulti,
        Self::ListSingle,
        Self::TextMulti,
        Self::TextPrivate,
        Self::TextSingle,
    ];

    /// The value of `type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Fixed => "fixed",
            Self::Hidden => "hidden",
            Self::JidMulti => "jid-multi",
            Self::JidSingle => "jid-single",
            Self::ListMulti => "list-multi",
            Self::ListSingle => "list-single",
            Self::TextMulti => "text-multi",
            Self::TextPrivate => "text-private",
            Self::TextSingle => "text-single",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A field, with one or more values or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Field {
    /// Its name; only a [`FieldType::Fixed`] field may go without.
    pub var: Option<String>,
    /// Its type; where none is written a form means [`FieldType::TextSingle`] and a submission the form's own.
    pub kind: Option<FieldType>,
    /// A label for a human being.
    pub label: Option<String>,
    /// An explanation for a human being.
    pub description: Option<String>,
    /// Whether it must be filled in.
    pub required: bool,
    /// What to choose from: label and value.
    pub options: Vec<(Option<String>, String)>,
    /// Its values; a text-multi field has one a line.
    pub values: Vec<String>,
}

impl Field {
    /// A field without values.
    pub fn new(kind: FieldType, var: &str) -> Self {
        Self { var: Some(var.into()), kind: Some(kind), ..Self::default() }
    }

    /// The hidden field `FORM_TYPE` (XEP-0068).
    pub fn form_type(form_type: &str) -> Self {
        Self::new(FieldType::Hidden, "FORM_TYPE").value(form_type)
    }

    /// With one more value.
    #[must_use]
    pub fn value(mut self, value: impl Into<String>) -> Self {
        self.values.push(value.into());
        self
    }

    /// With more values.
    #[must_use]
    pub fn values<T: Into<String>>(mut self, values: impl IntoIterator<Item = T>) -> Self {
        self.values.extend(values.into_iter().map(Into::into));
        self
    }

    /// With a label.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// With an option.
    #[must_use]
    pub fn option(mut self, label: Option<&str>, value: &str) -> Self {
        self.options.push((label.map(Into::into), value.into()));
        self
    }

    /// To be filled in.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The first value as a boolean (XEP-0004 §3.3): `None` if it is none.
    pub fn as_bool(&self) -> Option<bool> {
        match self.values.first()?.as_str() {
            "1" | "true" => Some(true),
            "0" | "false" => Some(false),
            _ => None,
        }
    }

    fn parse(element: ElementRef<'_>) -> Self {
        let own = |name: &'static str| element.children().filter(move |child| child.is(name, ns::DATA));
        let attr = |name: &str| element.attr(name).map(std::borrow::Cow::into_owned);
        let value_of = |option: ElementRef<'_>| Some(option.child("value", ns::DATA)?.text().into_owned());
        Self {
            var: attr("var"),
            kind: element.attr("type").and_then(|word| FieldType::from_word(&word)),
            label: attr("label"),
            description: own("desc").next().map(|desc| desc.text().into_owned()),
            required: own("required").next().is_some(),
            options: own("option")
                .filter_map(|option| {
                    Some((option.attr("label").map(std::borrow::Cow::into_owned), value_of(option)?))
                })
                .collect(),
            values: own("value").map(|value| value.text().into_owned()).collect(),
        }
    }

    fn builder(&self) -> Builder {
        let text = |name: &str, text: &str| Builder::new(name, ns::DATA).text(text);
        Builder::new("field", ns::DATA)
            .attr_opt("var", self.var.as_deref())
            .attr_opt("type", self.kind.map(FieldType::as_str))
            .attr_opt("label", self.label.as_deref())
            .child_opt(self.description.as_deref().map(|description| text("desc", description)))
            .child_opt(self.required.then(|| Builder::new("required", ns::DATA)))
            .children(self.values.iter().map(|value| text("value", value)))
            .children(self.options.iter().map(|(label, value)| {
                Builder::new("option", ns::DATA)
                    .attr_opt("label", label.as_deref())
                    .child(text("value", value))
            }))
    }
}

/// A form (XEP-0004 §3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// What it is for.
    pub kind: FormType,
    /// Its title.
    pub title: Option<String>,
    /// What to do with it, for a human being.
    pub instructions: Vec<String>,
    /// Its fields.
    pub fields: Vec<Field>,
    /// The columns of [`Form::items`] (XEP-0004 §3.4).
    pub reported: Vec<Field>,
    /// Rows of fields (XEP-0004 §3.4).
    pub items: Vec<Vec<Field>>,
}

impl Form {
    /// An empty form.
    pub fn new(kind: FormType) -> Self {
        Self { kind, ..Self::default() }
    }

    /// A form with the hidden field `FORM_TYPE`.
    pub fn typed(kind: FormType, form_type: &str) -> Self {
        Self::new(kind).field(Field::form_type(form_type))
    }

    /// With one more field.
    #[must_use]
    pub fn field(mut self, field: Field) -> Self {
        self.fields.push(field);
        self
    }

    /// With a title.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// With one more paragraph of instructions.
    #[must_use]
    pub fn instruction(mut self, text: impl Into<String>) -> Self {
        self.instructions.push(text.into());
        self
    }

    /// The first field of a name.
    pub fn get(&self, var: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.var.as_deref() == Some(var))
    }

    /// The first value of a field.
    pub fn value(&self, var: &str) -> Option<&str> {
        self.get(var)?.values.first().map(String::as_str)
    }

    /// All values of a field; none if it is missing.
    pub fn values(&self, var: &str) -> &[String] {
        self.get(var).map_or(&[], |field| &field.values)
    }

    /// The value of `FORM_TYPE`; in a form that is not submitted the field must be hidden (XEP-0068 §3.1).
    pub fn form_type(&self) -> Option<&str> {
        let field = self.get("FORM_TYPE")?;
        let hidden =
            field.kind == Some(FieldType::Hidden) || self.kind == FormType::Submit && field.kind.is_none();
        if hidden { field.values.first().map(String::as_str) } else { None }
    }

    /// Reads an `x` element; `None` if it is another, or of an unknown type. A missing type is read as [`FormType::Form`].
    pub fn parse(element: ElementRef<'_>) -> Option<Self> {
        if !element.is("x", ns::DATA) {
            return None;
        }
        let kind = match element.attr("type") {
            Some(word) => FormType::from_word(&word)?,
            None => FormType::Form,
        };
        let fields = |of: ElementRef<'_>| -> Vec<Field> {
            of.children().filter(|child| child.is("field", ns::DATA)).map(Field::parse).collect()
        };
        let own = |name: &'static str| element.children().filter(move |child| child.is(name, ns::DATA));
        Some(Self {
            kind,
            title: own("title").next().map(|title| title.text().into_owned()),
            instructions: own("instructions").map(|text| text.text().into_owned()).collect(),
            fields: fields(element),
            reported: own("reported").next().map(fields).unwrap_or_default(),
            items: own("item").map(fields).collect(),
        })
    }

    /// The form among the children of an element.
    pub fn find(parent: ElementRef<'_>) -> Option<Self> {
        parent.children().find_map(Self::parse)
    }

    /// Writes it.
    pub fn builder(&self) -> Builder {
        let text = |name: &str, text: &str| Builder::new(name, ns::DATA).text(text);
        let row = |name: &str, fields: &[Field]| {
            Builder::new(name, ns::DATA).children(fields.iter().map(Field::builder))
        };
        let reported = (!self.reported.is_empty()).then(|| row("reported", &self.reported));
        Builder::new("x", ns::DATA)
            .attr("type", self.kind.as_str())
            .child_opt(self.title.as_deref().map(|title| text("title", title)))
            .children(self.instructions.iter().map(|instructions| text("instructions", instructions)))
            .children(self.fields.iter().map(Field::builder))
            .child_opt(reported)
            .children(self.items.iter().map(|item| row("item", item)))
    }
}
