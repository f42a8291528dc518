//! The events of making one image, such that a start is always followed by an end.

use std::time::{Duration, Instant};

use crate::event::{Event, Events};

/// An image that is being made: dropped before it is finished, it reports a failure.
pub struct Progress {
    pub events: Events,
    pub image: String,
    started: Instant,
    told: Option<Instant>,
    is_finished: bool,
}

impl Progress {
    pub fn start(events: &Events, image: &str, what: impl Into<String>) -> Self {
        events.emit(Event::ImageStarted { image: image.to_string(), what: what.into() });
        let (events, image) = (events.clone(), image.to_string());
        Self { events, image, started: Instant::now(), told: None, is_finished: false }
    }

    /// Reports the progress of a download, at most ten times a second, and always when it is complete.
    pub fn bytes(&mut self, done: u64, total: Option<u64>) {
        const PAUSE: Duration = Duration::from_millis(100);
        if total == Some(done) || self.told.is_none_or(|told| told.elapsed() >= PAUSE) {
            self.told = Some(Instant::now());
            self.events.emit(Event::ImageProgress { image: self.image.clone(), done, total });
        }
    }

    pub fn finish(mut self) {
        self.is_finished = true;
        self.events.emit(Event::ImageFinished { image: self.image.clone(), took: self.started.elapsed() });
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if !self.is_finished {
            self.events.emit(Event::ImageFailed { image: self.image.clone() });
        }
    }
}
