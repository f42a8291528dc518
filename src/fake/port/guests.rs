//! Calls that reach into a guest.

use crate::error::{Error, Result};
use crate::fake::change::power;
use crate::fake::guests::console::FakeConsole;
use crate::fake::port::fake::Fake;
use crate::fake::record::answer;
use crate::fake::record::forwarded::forwarded;
use crate::hypervisor::{Console, Forward, Guest, Guests, Ports};
use crate::stop::Interrupt;

impl Guests for Fake {
    fn guest(&self, domain: &str) -> Result<Box<dyn Guest>> {
        Ok(Box::new(self.fake_guest(domain)?))
    }

    fn console(&self, domain: &str) -> Result<Box<dyn Console>> {
        let (guest, answers, store) = (self.fake_guest(domain)?, self.answers.clone(), self.store.clone());
        let script = move |typed: Option<&str>| {
            let of_state = || store.look(|state| Ok(answer::on_console(&state.answers, typed))).ok().flatten();
            answer::on_console(&answers, typed).or_else(of_state)
        };
        Ok(Box::new(FakeConsole::new(Box::new(guest), Box::new(script))))
    }

    fn forward(&self, name: &str, forward: Forward) -> Result<Option<u16>> {
        self.store.look(|state| state.forward(name, forward))
    }

    fn ports(&self, _: &str) -> Result<Ports> {
        Ok(Ports::default())
    }

    fn start_attendant(&self, name: &str, ports: &Ports) -> Result<Ports> {
        self.store.look(|state| state.running(name).map(drop))?;
        let forwards = ports.forwards.iter().map(|forward| Forward { host: forwarded(*forward), ..*forward });
        Ok(Ports { forwards: forwards.collect(), back: ports.back.clone() })
    }

    fn attend(&self, name: &str, _: &Ports, _: &Interrupt, _: &mut dyn FnMut(&Ports) -> Result<()>) -> Result<()> {
        Err(Error::failed(format!("cannot attend the channel of `{name}`")).cause("a fake guest has none"))
    }

    fn screenshot(&self, name: &str) -> Result<(String, Vec<u8>)> {
        let failed = || format!("cannot take a picture of the screen of `{name}`");
        self.store.look(|state| match state.record(name)?.is_active() {
            true => Ok(("image/png".to_string(), power::SCREEN.to_vec())),
            false => Err(Error::failed(failed()).cause(power::NOT_RUNNING)),
        })
    }

    fn own_memory(&self, _: &str) -> Result<Option<u64>> {
        Ok(None)
    }
}
