//! The manual's entry for one function, field, type or module.

/// One named thing in the Lua API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As a script writes it: `machine`, `machine.open`, `snapshot:branch`, `snapshot.name`, `apt.install`.
    pub name: String,
    pub kind: Kind,
    /// The type, global table or module that it belongs to.
    pub owner: Option<String>,
    /// Whether it exists only at the prompt.
    pub is_at_prompt: bool,
    pub parameters: Vec<Parameter>,
    /// The type of its result, or of the field; empty if it returns nothing.
    pub returns: String,
    /// Paragraphs with an empty line between them.
    pub doc: String,
    /// The options of its last argument.
    pub options: Vec<OptionDoc>,
    pub example: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Called with a dot, or global.
    Function,
    /// Called with a colon.
    Method,
    Field,
    /// A type of values.
    Class,
    /// A global that is not a function.
    Value,
    /// The result of `require`.
    Module,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    pub type_: String,
    pub is_optional: bool,
    pub doc: String,
}

/// One option of a function, or one field of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionDoc {
    pub name: String,
    pub type_: String,
    pub is_required: bool,
    pub doc: String,
    /// In words, such as `"1GiB"` or `where the host can`.
    pub default: Option<String>,
}

impl Entry {
    /// Returns how it is called, such as `snapshot:branch(name, step, options?) -> snapshot`.
    pub fn signature(&self) -> String {
        let Self { name, returns, .. } = self;
        match self.kind {
            Kind::Module if !self.is_callable() => format!("require \"{name}\""),
            Kind::Module => self.called(&format!("require(\"{name}\")")),
            Kind::Function if self.is_callable() => self.called(name),
            Kind::Method => self.called(name),
            Kind::Field => format!("{name}: {returns}"),
            Kind::Value if !returns.is_empty() => format!("{name}: {returns}"),
            Kind::Class | Kind::Value | Kind::Function => name.clone(),
        }
    }

    fn called(&self, name: &str) -> String {
        let mark = |parameter: &Parameter| if parameter.is_optional { "?" } else { "" };
        let parameters: Vec<String> =
            self.parameters.iter().map(|parameter| format!("{}{}", parameter.name, mark(parameter))).collect();
        let call = format!("{name}({})", parameters.join(", "));
        if self.returns.is_empty() { call } else { format!("{call} -> {}", self.returns) }
    }

    /// Says whether a value of this name can be called.
    pub fn is_callable(&self) -> bool {
        match self.kind {
            Kind::Function | Kind::Method => true,
            Kind::Module => !self.returns.is_empty(),
            Kind::Field | Kind::Class | Kind::Value => false,
        }
    }

    /// Returns its name without its owner's.
    pub fn member(&self) -> &str {
        let owner = self.owner.as_ref().map_or(0, |owner| owner.len() + 1);
        self.name.get(owner..).unwrap_or(&self.name)
    }

    /// Returns the first sentence of its description.
    pub fn summary(&self) -> &str {
        let first = self.doc.split("\n\n").next().unwrap_or_default();
        first.find(". ").map_or(first, |end| &first[..=end])
    }
}
