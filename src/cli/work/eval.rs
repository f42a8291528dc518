//! `snaptree eval`.

use clap::Args;

use crate::cli::common::session::Session;
use crate::cli::work::repl::settings;
use crate::error::Result;
use crate::lua::{self, Orders};
use crate::repl;
use crate::ui::Ui;

/// Evaluate one line of Lua and print the result
#[derive(Args)]
pub struct Eval {
    /// An expression such as 'machine.list()', or statements
    expression: String,
}

impl Eval {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let orders = Orders::default();
        let (asks, lines) = repl::evaluate(ui, &self.expression);
        let code = lua::run_prompt(&settings(&session, &orders), None, asks, |error| Err(error.clone()))?;
        lines.end()?;
        Ok(code)
    }
}
