//! The context that every function of the Lua API uses, and how it waits without blocking the others.

use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use mlua::Lua;
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::image::ImageCache;
use crate::lua::runtime::budget::{Budget, memory_of_host};
use crate::lua::runtime::contents::Contents;
use crate::lua::runtime::control::{Control, Place};
use crate::lua::runtime::endings::Endings;
use crate::lua::stdlib::STDLIB;
use crate::name::{MachineName, SnapshotName, SnapshotPath};
use crate::stop::Interrupt;
use crate::tree::{ASKED_FOR, Engine, Event, Found, NodeId, Reason, Subject};

/// One connection, with what all connections of the script share.
pub struct Context {
    pub engine: Arc<Engine>,
    pub images: Arc<ImageCache>,
    /// What builders may use, on all connections together.
    pub budget: Budget,
    pub control: Arc<Control>,
    pub on_failure: OnFailure,
    /// The prompts that are open on a running script.
    pub prompts: Arc<Prompts>,
    /// Contents that went into guests, if the prompt may have to save them.
    pub contents: Arc<Contents>,
    pub endings: Endings,
    /// The code with which the script called `os.exit`.
    pub exit: Arc<watch::Sender<Option<i32>>>,
    declared: Mutex<Declared>,
    /// The coroutines in which steps are running.
    steps: Mutex<HashSet<usize>>,
    /// Cloned by each running blocking call, even if its caller no longer waits.
    calls: Arc<()>,
}

/// What to do with a failed step.
#[derive(Clone, Default)]
pub struct OnFailure {
    /// Whether it is kept, if its branch does not say.
    pub keep: bool,
    /// Lets the user inspect it, if that is wanted.
    pub then: Option<AfterFailure>,
}

/// Lets the user inspect a failed step; says whether to run the step again.
pub type AfterFailure = Arc<dyn for<'a> Fn(FailedStep<'a>) -> LocalBoxFuture<'a, Result<bool>> + Send + Sync>;

/// A failed step that was kept.
pub struct FailedStep<'a> {
    pub lua: &'a Lua,
    pub context: &'a Arc<Context>,
    pub parent: &'a NodeId,
    pub path: &'a SnapshotPath,
    pub error: &'a Error,
}

/// Prompts that are open while a script waits: an interrupt goes to them instead of the script.
#[derive(Default)]
pub struct Prompts(AtomicUsize);

impl Prompts {
    /// Keeps interrupts from the script while the returned value lives.
    pub fn open(self: &Arc<Self>) -> OpenPrompt {
        self.0.fetch_add(1, Ordering::SeqCst);
        OpenPrompt(Arc::clone(self))
    }

    /// Waits for an interrupt that is meant for the script.
    pub async fn interrupted(&self, interrupt: &Interrupt) {
        const TICK: Duration = Duration::from_millis(50);
        while !interrupt.is_raised() || self.0.load(Ordering::SeqCst) > 0 && !interrupt.is_end() {
            tokio::time::sleep(TICK).await;
        }
    }
}

pub struct OpenPrompt(Arc<Prompts>);

impl Drop for OpenPrompt {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The script's lines that declared each machine and snapshot.
#[derive(Default)]
struct Declared {
    machines: Vec<MachineName>,
    /// In the order in which they were first declared.
    snapshots: Vec<SnapshotPath>,
    places: HashMap<(MachineName, Option<SnapshotName>), String>,
}

impl Context {
    pub fn new(
        engine: Arc<Engine>,
        images: Arc<ImageCache>,
        jobs: usize,
        control: Arc<Control>,
        on_failure: OnFailure,
    ) -> Self {
        let memory = if engine.is_simulated() { None } else { memory_of_host() };
        let budget = Budget::new(jobs, memory);
        Self {
            engine,
            images,
            budget,
            control,
            on_failure,
            prompts: Arc::default(),
            contents: Arc::default(),
            endings: Endings::default(),
            exit: Arc::default(),
            declared: Mutex::default(),
            steps: Mutex::default(),
            calls: Arc::default(),
        }
    }

    /// Returns the context of another connection of the same script.
    pub fn beside(&self, engine: Arc<Engine>) -> Self {
        Self {
            engine,
            images: Arc::clone(&self.images),
            budget: self.budget.clone(),
            control: Arc::clone(&self.control),
            on_failure: self.on_failure.clone(),
            prompts: Arc::clone(&self.prompts),
            contents: Arc::clone(&self.contents),
            endings: Endings::default(),
            exit: Arc::clone(&self.exit),
            declared: Mutex::default(),
            steps: Mutex::default(),
            calls: Arc::default(),
        }
    }

    /// Waits until the script ends itself.
    pub async fn exited(&self) {
        // This cannot fail: the sender lives as long as the context.
        let _ = self.exit.subscribe().wait_for(Option::is_some).await;
    }

    /// Returns the code with which the script called `os.exit`.
    pub fn exit_code(&self) -> Option<i32> {
        *self.exit.borrow()
    }

    /// Returns the context of a Lua state: that of the connection that the script was started with.
    pub fn of(lua: &Lua) -> Result<Arc<Self>> {
        let context = lua.app_data_ref::<Arc<Self>>().map(|context| Arc::clone(&context));
        context.ok_or_else(|| Error::bug("this Lua state has no context"))
    }

    /// Records that the script declares a machine, or a snapshot of one, here; fails the second time.
    pub fn declare(&self, lua: &Lua, machine: &MachineName, snapshot: Option<&SnapshotName>) -> Result<()> {
        let place = caller(lua).unwrap_or_else(|| "the prompt".to_string());
        let mut declared = self.declared.lock();
        let what = (machine.clone(), snapshot.cloned());
        if let Some(first) = declared.places.get(&what) {
            let what = match snapshot {
                Some(snapshot) => format!("snapshot `{snapshot}` of `{machine}`"),
                None => format!("machine `{machine}`"),
            };
            let error = |places| Error::failed(format!("{what} is declared twice, {places}"));
            return Err(match *first == place {
                true => error(format!("both times at {place}"))
                    .hint("in a loop every round needs a name of its own, such as \"NAME-\" .. value"),
                false => error(format!("at {first} and at {place}")).hint("every name in a tree is used once"),
            });
        }
        declared.places.insert(what, place);
        if let Some(snapshot) = snapshot {
            let path = SnapshotPath { machine: machine.clone(), snapshot: snapshot.clone() };
            if !declared.snapshots.contains(&path) {
                declared.snapshots.push(path);
            }
        } else if !declared.machines.contains(machine) {
            declared.machines.push(machine.clone());
            self.engine.events.emit(Event::MachineDeclared { machine: machine.to_string() });
        }
        Ok(())
    }

    /// Allows everything to be declared again.
    pub fn forget_places(&self) {
        self.declared.lock().places.clear();
    }

    /// Lists the declared snapshots in order.
    pub fn snapshots(&self) -> Vec<SnapshotPath> {
        self.declared.lock().snapshots.clone()
    }

    /// Records that a step runs in a coroutine, while the returned value lives.
    pub fn enter_step(self: &Arc<Self>, thread: &mlua::Thread) -> InStep {
        let step = thread.to_pointer() as usize;
        self.steps.lock().insert(step);
        InStep { context: Arc::clone(self), step }
    }

    /// Says whether the running coroutine is a step's.
    pub fn is_in_step(&self, lua: &Lua) -> bool {
        let running = lua.current_thread().to_pointer() as usize;
        self.steps.lock().contains(&running)
    }

    /// Names a node of this connection.
    pub fn place(&self, machine: &MachineName, name: &SnapshotName) -> Place {
        (self.engine.uri(), machine.clone(), name.clone())
    }

    /// Applies the command line's orders to a root that was looked for.
    pub fn settle(&self, machine: &MachineName, name: &SnapshotName, found: Found) -> Result<Found> {
        let found = match found {
            Found::Cached(_) if self.control.rebuilds(machine, name) => {
                Found::Needed(Reason::Changed(ASKED_FOR.to_string()))
            }
            found => found,
        };
        match &found {
            Found::Needed(reason) => self.control.may_build(name, reason)?,
            Found::Cached(_) | Found::KeptAside(_) => {
                self.engine.events.emit(Event::NodeCached { subject: Subject::node(machine, name) });
            }
        }
        Ok(found)
    }

    /// Warns, once, of a branch that would be rebuilt in every run.
    pub fn warn_of_chance(&self, machine: &MachineName, name: &SnapshotName, found: &Found) {
        if let Found::Needed(Reason::Chance { number, operation, .. }) = found {
            self.engine.warn_of_chance(Subject::node(machine, name), *number, operation);
        }
    }

    /// Lists the machines that the script declared, in order.
    pub fn machines(&self) -> Vec<MachineName> {
        self.declared.lock().machines.clone()
    }

    /// Says whether no blocking call is running.
    pub fn is_idle(&self) -> bool {
        Arc::strong_count(&self.calls) == 1
    }

    /// Runs a blocking call on another thread.
    pub async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        call: impl FnOnce(&Engine) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (engine, under_way) = (Arc::clone(&self.engine), Arc::clone(&self.calls));
        let call = move || {
            let _under_way = under_way;
            call(&engine)
        };
        match tokio::task::spawn_blocking(call).await {
            Ok(result) => result,
            Err(cause) => Err(Error::bug("a task of the engine broke").cause(cause)),
        }
    }
}

/// A running step.
pub struct InStep {
    context: Arc<Context>,
    step: usize,
}

impl Drop for InStep {
    fn drop(&mut self) {
        self.context.steps.lock().remove(&self.step);
    }
}

/// Returns the line of the user's own code that called into snaptree.
pub fn caller(lua: &Lua) -> Option<String> {
    const DEPTH: usize = 32;
    (0..DEPTH).find_map(|level| {
        lua.inspect_stack(level, |frame| {
            let source = frame.source();
            let file = source.source?.strip_prefix('@')?.to_string();
            let line = frame.current_line()?;
            (!file.starts_with(STDLIB)).then(|| format!("{file}:{line}"))
        })
        .flatten()
    })
}
