//! Kernel texts of one device, by what they are needed for.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::Result;
use crate::device::cuda::{Gpu, Kernel, Module};
use crate::tensor::ops::elementwise::Fused;

/// What every text begins with.
const PRELUDE: &str = include_str!("prelude.cu");

/// Generated kernels that are remembered at most; then all are forgotten.
const MAX_CHAINS: usize = 4096;

/// The kernels of some operations.
pub(crate) struct Family {
    /// For messages of the compiler.
    pub(crate) name: &'static str,
    /// Templates and macros, without the prelude.
    pub(crate) text: &'static str,
}

/// A kernel by its name; compiled when it is first launched.
#[derive(Clone)]
pub(crate) struct Named(Arc<Entry>);

struct Entry {
    module: Arc<Module>,
    name: String,
}

impl Named {
    fn new(module: &Arc<Module>, name: &str) -> Self {
        Self(Arc::new(Entry { module: module.clone(), name: name.to_owned() }))
    }

    /// The text that it is in.
    pub(crate) fn module(&self) -> &Arc<Module> {
        &self.0.module
    }

    /// A number that no other kernel of its library has.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// The kernel on a device, which compiles it when it is first asked for.
    pub(crate) fn resolve(&self, gpu: &Gpu) -> Result<Kernel> {
        gpu.kernel(&self.0.module, &self.0.name)
    }
}

/// All kernels that were needed so far.
#[derive(Default)]
pub(crate) struct Library(Mutex<Shelves>);

#[derive(Default)]
struct Shelves {
    /// By family and instance.
    modules: HashMap<(&'static str, String), Arc<Module>>,
    /// By name, which families and instances make unique.
    kernels: HashMap<String, Named>,
    /// By text.
    chains: HashMap<String, Named>,
}

impl Library {
    /// Kernel `name` of a family with this line after its text.
    pub(crate) fn kernel(&self, family: &Family, instance: &str, name: &str) -> Named {
        let mut shelves = self.lock();
        if let Some(known) = shelves.kernels.get(name) {
            return known.clone();
        }
        let module = shelves
            .modules
            .entry((family.name, instance.to_owned()))
            .or_insert_with(|| Arc::new(Module::new(family.name, [PRELUDE, family.text, instance, "\n"].concat())));
        let named = Named::new(module, name);
        shelves.kernels.insert(name.to_owned(), named.clone());
        named
    }

    /// Lets the chains that are not known yet become one text.
    pub(crate) fn prepare<'a>(&self, chains: impl Iterator<Item = &'a Fused>) {
        let mut shelves = self.lock();
        if shelves.chains.len() > MAX_CHAINS {
            shelves.chains.clear();
        }
        let mut added: Vec<(String, String)> = Vec::new();
        let mut text = PRELUDE.to_owned();
        for body in chains.map(Fused::text) {
            if shelves.chains.contains_key(&body) || added.iter().any(|(known, _)| *known == body) {
                continue;
            }
            let mut hasher = DefaultHasher::new();
            body.hash(&mut hasher);
            let name = format!("chain_{:016x}", hasher.finish());
            text.extend(["KERNEL ", &name, &body]);
            added.push((body, name));
        }
        if !added.is_empty() {
            let module = Arc::new(Module::new("elementwise", text));
            shelves.chains.extend(added.into_iter().map(|(body, name)| (body, Named::new(&module, &name))));
        }
    }

    /// The kernel of a chain.
    pub(crate) fn chain(&self, chain: &Fused) -> Named {
        let body = chain.text();
        loop {
            if let Some(known) = self.lock().chains.get(&body) {
                return known.clone();
            }
            self.prepare(std::iter::once(chain));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
