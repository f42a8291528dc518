//! A machine as a script holds it: opened, or declared with its image and settings.

use crate::lua::handle::domain::Domain;
use crate::lua::handle::image::AnyImage;
use crate::tree::Definition;

pub struct Machine {
    pub domain: Domain,
    /// `None` for an opened machine.
    pub declaration: Option<Declaration>,
}

/// What a script declares a machine to be.
pub struct Declaration {
    pub definition: Definition,
    pub image: AnyImage,
}

impl Machine {
    pub fn opened(domain: Domain) -> Self {
        Self { domain, declaration: None }
    }
}
