//! `snaptree images`.

use clap::{Args, Subcommand};

use crate::cli::common::confirm::confirm;
use crate::error::Result;
use crate::image::ImageCache;
use crate::paths::Paths;
use crate::ui::Ui;

/// List the images in the cache, or remove one
#[derive(Args)]
pub struct Images {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// List the built and downloaded images
    List {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Remove an image from the cache; machines made from it keep their own copy
    Remove {
        /// Do not ask for confirmation
        #[arg(short, long)]
        yes: bool,
        /// Its name, or the first digits of its digest
        image: String,
    },
}

impl Images {
    pub fn execute(&self, ui: &Ui) -> Result<i32> {
        let cache = ImageCache::open(&Paths::from_env()?.cache);
        match &self.action {
            None => ui.images(&cache.list()?)?,
            Some(Action::List { json: false }) => ui.images(&cache.list()?)?,
            Some(Action::List { json: true }) => ui.json(&cache.list()?)?,
            Some(Action::Remove { yes, image }) => {
                let found = cache.find(image)?;
                confirm(ui, &format!("delete image `{}` ({})", found.name, found.digest), *yes)?;
                cache.remove(&found)?;
                ui.status(&format!("Removed image `{}`.", found.name));
            }
        }
        Ok(0)
    }
}
