//! Modules on their way to a device and on it, which are compiled, loaded, and
//! unloaded when there are too many: the least recently used first, and none that
//! a graph has kernels of.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::result;
use cudarc::driver::sys;

use super::compile;
use super::gpu::Gpu;
use super::launch::{Kernel, Module};
use super::owner::Cuda;
use crate::base::{Error, Result};

/// Modules on a device at most, unless it is told otherwise.
const MODULES: usize = 1024;

/// Modules that are remembered on their way at most.
const ON_THEIR_WAY: usize = 4 * MODULES;

/// A module by its text.
type Key = [u8; 32];

/// How far a module is.
#[derive(Default)]
enum Stage {
    /// A text.
    #[default]
    Text,
    /// Compiled by [`Cuda::compile`], for the device's thread to load.
    Compiled(compile::Compiled),
    /// On the device.
    Loaded,
}

/// The modules of a device, wherever they are used. Who holds a stage compiles.
pub(super) struct Stages {
    by_key: Mutex<HashMap<Key, Arc<Mutex<Stage>>>>,
    allowed: AtomicUsize,
}

impl Default for Stages {
    fn default() -> Self {
        Self { by_key: Mutex::default(), allowed: AtomicUsize::new(MODULES) }
    }
}

impl Stages {
    fn of(&self, module: &Module) -> Arc<Mutex<Stage>> {
        let mut stages = self.lock();
        if stages.len() >= ON_THEIR_WAY {
            // What was compiled for a run that was killed then, nobody loads.
            stages.retain(|_, stage| {
                Arc::strong_count(stage) > 1 || stage.try_lock().is_ok_and(|stage| matches!(*stage, Stage::Loaded))
            });
        }
        stages.entry(module.key).or_default().clone()
    }

    /// The module is not on the device any more.
    fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Mutex<Stage>>>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn locked(stage: &Mutex<Stage>) -> MutexGuard<'_, Stage> {
    stage.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cuda {
    /// Whether a module is on the device.
    pub fn has(&self, module: &Module) -> bool {
        // While it is compiled it is not there.
        self.shared.stages.of(module).try_lock().is_ok_and(|stage| matches!(*stage, Stage::Loaded))
    }

    /// Compiles a module on the calling thread, so that [`Gpu::kernel`] need not on the
    /// device's, which others wait for meanwhile.
    pub fn compile(&self, module: &Module) -> Result<()> {
        self.check()?;
        let stage = self.shared.stages.of(module);
        let mut stage = locked(&stage);
        if matches!(*stage, Stage::Text) {
            *stage = Stage::Compiled(compile::cached(module, self.info().capability)?);
        }
        Ok(())
    }

    /// From now on so many modules are on the device at most, besides those that
    /// graphs need; 1,024 where this is not called.
    pub fn keep_modules(&self, allowed: usize) {
        self.shared.stages.allowed.store(allowed, Ordering::Relaxed);
    }
}

/// The modules that are on a device.
#[derive(Default)]
pub(super) struct Modules {
    loaded: HashMap<Key, Loaded>,
    /// By the number of the module; who has another one of an `Arc` needs the module.
    pins: HashMap<u64, Arc<()>>,
    /// What the graph needs that is recorded now.
    recorded: Vec<Arc<()>>,
    /// Counts modules and their uses.
    clock: u64,
}

struct Loaded {
    module: sys::CUmodule,
    number: u64,
    kernels: HashMap<String, Kernel>,
    last_use: u64,
}

impl Modules {
    /// Keeps the module of a kernel for the graph that is recorded now.
    pub(super) fn record(&mut self, kernel: &Kernel) {
        if let Some(pin) = self.pins.get(&kernel.module)
            && !self.recorded.iter().any(|known| Arc::ptr_eq(known, pin))
        {
            self.recorded.push(pin.clone());
        }
    }

    /// Refuses a kernel whose module was unloaded.
    pub(super) fn check(&self, kernel: &Kernel) -> Result<()> {
        match self.pins.contains_key(&kernel.module) {
            true => Ok(()),
            false => Err(Error::Internal("a kernel was launched that is not on its device any more".to_owned())),
        }
    }

    /// What keeps the modules of the graph that was just recorded.
    pub(super) fn recorded(&mut self) -> Vec<Arc<()>> {
        std::mem::take(&mut self.recorded)
    }

    /// The modules that leave when there may be so many with another one.
    fn surplus(&self, allowed: usize) -> Vec<Key> {
        let allowed = allowed.max(1);
        let Some(surplus) = (self.loaded.len() + 1).checked_sub(allowed).filter(|n| *n > 0) else {
            return Vec::new();
        };
        let is_idle = |loaded: &Loaded| self.pins.get(&loaded.number).is_none_or(|pin| Arc::strong_count(pin) == 1);
        let idle = self.loaded.iter().filter(|(_, loaded)| is_idle(loaded));
        let mut idle: Vec<(u64, Key)> = idle.map(|(key, loaded)| (loaded.last_use, *key)).collect();
        idle.sort_unstable();
        // Several at once, since the device is waited for each time.
        idle.truncate(surplus.max(allowed / 8));
        idle.into_iter().map(|(_, key)| key).collect()
    }

    /// Gives all back; nothing of it is executed any more.
    pub(super) fn close(self) {
        for loaded in self.loaded.into_values() {
            // SAFETY: loaded once, and not used any more.
            let _ = unsafe { result::module::unload(loaded.module) };
        }
    }
}

impl Gpu {
    /// Puts a module on the device, compiled if it is neither there nor in the user's cache.
    pub fn load(&self, module: &Module) -> Result<()> {
        self.ready()?;
        self.loaded(&mut self.modules.borrow_mut(), module).map(|_| ())
    }

    /// A kernel of a module, which is compiled when it is first asked for and not
    /// in the user's cache. It is good until the next module is loaded.
    pub fn kernel(&self, module: &Module, name: &str) -> Result<Kernel> {
        self.ready()?;
        let mut modules = self.modules.borrow_mut();
        let loaded = self.loaded(&mut modules, module)?;
        if let Some(kernel) = loaded.kernels.get(name) {
            return Ok(*kernel);
        }
        let c_name = CString::new(name).map_err(|_| Error::Internal(format!("kernel `{name}`")))?;
        // SAFETY: the module is loaded.
        let function = unsafe { result::module::get_function(loaded.module, c_name) };
        let function = self.told("cuModuleGetFunction", function).map_err(|error| match error {
            lost @ Error::DeviceLost { .. } => lost,
            _ => Error::Internal(format!("module `{}` has no kernel `{name}`", module.name())),
        })?;
        let kernel = Kernel { function, of: self.identity(), module: loaded.number };
        loaded.kernels.insert(name.to_owned(), kernel);
        Ok(kernel)
    }

    /// A module that is on the device from now on.
    fn loaded<'a>(&self, modules: &'a mut Modules, module: &Module) -> Result<&'a mut Loaded> {
        modules.clock += 1;
        let now = modules.clock;
        if !modules.loaded.contains_key(&module.key) {
            self.ready_outside_graph("a kernel was compiled")?;
            self.unload_surplus(modules)?;
            let handle = self.bring(module)?;
            modules.pins.insert(now, Arc::default());
            let loaded = Loaded { module: handle, number: now, kernels: HashMap::new(), last_use: now };
            modules.loaded.insert(module.key, loaded);
        }
        let loaded = modules.loaded.get_mut(&module.key);
        let loaded = loaded.ok_or_else(|| Error::Internal("a module that was just loaded".to_owned()))?;
        loaded.last_use = now;
        Ok(loaded)
    }

    /// Makes room for another module.
    fn unload_surplus(&self, modules: &mut Modules) -> Result<()> {
        let surplus = modules.surplus(self.shared.stages.allowed.load(Ordering::Relaxed));
        if surplus.is_empty() {
            return Ok(());
        }
        // What is on the stream may be of them.
        self.synchronise()?;
        for key in surplus {
            let Some(loaded) = modules.loaded.remove(&key) else { continue };
            modules.pins.remove(&loaded.number);
            self.shared.stages.forget(&key);
            // SAFETY: loaded once; nobody has a kernel of it that may be launched.
            self.told("cuModuleUnload", unsafe { result::module::unload(loaded.module) })?;
        }
        Ok(())
    }

    /// Loads a module, compiled anew where what the cache holds is refused.
    fn bring(&self, module: &Module) -> Result<sys::CUmodule> {
        let stage = self.shared.stages.of(module);
        let mut stage = locked(&stage);
        let compiled = match std::mem::take(&mut *stage) {
            Stage::Compiled(compiled) => compiled,
            Stage::Text | Stage::Loaded => compile::cached(module, self.info.capability)?,
        };
        let load = |image: &[u8]| {
            // SAFETY: an image of NVRTC, which the driver checks.
            self.told("cuModuleLoadData", unsafe { result::module::load_data(image.as_ptr().cast()) })
        };
        let loaded = match load(&compiled.image) {
            // Nothing is wrong with what was compiled.
            Err(error @ Error::OutOfMemory { .. }) => {
                *stage = Stage::Compiled(compiled);
                Err(error)
            }
            Err(error) if compiled.was_cached && !self.shared.is_lost() => {
                compiled.forget();
                let fresh = compile::cached(module, self.info.capability)?;
                if fresh.was_cached { Err(error) } else { load(&fresh.image) }
            }
            answer => answer,
        }?;
        *stage = Stage::Loaded;
        Ok(loaded)
    }
}
