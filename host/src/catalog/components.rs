//! The catalog of components: create, activate, delete, list; and what is set
//! for their procs.

use super::{Object, ProcSpec, Rights};
use crate::base::{Error, Limits, Result, now_us};
use crate::storage::{ComponentRecord, ProcSetting, Storage, Versions, VersionsSeen, Write};

/// How often a creation is tried that another one of the same name was ahead of.
const ATTEMPTS: u32 = 8;

/// Components and procs by name. Cheap to clone.
#[derive(Clone)]
pub struct Catalog {
    pub(super) storage: Storage,
}

/// What is stored of a component: the answer of its inspection and the file.
pub struct NewComponent<'a> {
    /// Its name: letters, digits, `_` and `-`.
    pub name: &'a str,
    /// The procs it declares.
    pub procs: &'a [ProcSpec],
    /// Of `bytes`, 64 hex digits.
    pub sha256: &'a str,
    /// The `.wasm` file.
    pub bytes: &'a [u8],
}

/// What became of a component that was to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// The version that holds these bytes.
    pub component: ComponentRecord,
    /// What was done.
    pub change: Change,
}

/// What creating a component does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// A new version was added.
    Created,
    /// An older version has the same bytes, and answers to the name again.
    Activated,
    /// The version that would be made is there already.
    Unchanged,
}

/// Whether a version that is created answers to its component's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// From now on.
    Now,
    /// Once it is activated; until then it is executed by its number.
    Later,
}

impl NewComponent<'_> {
    /// What is stored of it as a version.
    pub fn record(&self, version: u64, activation: Activation) -> Result<ComponentRecord> {
        super::check_word("component", self.name)?;
        Ok(ComponentRecord {
            name: self.name.to_owned(),
            version,
            sha256: self.sha256.to_owned(),
            size_bytes: self.bytes.len() as u64,
            created_us: now_us(),
            active: activation == Activation::Now,
            procs: serde_json::to_string(self.procs).map_err(|e| Error::Internal(e.to_string()))?,
        })
    }
}

/// A change of what is set for a proc; `None` takes a setting back.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcChange {
    /// How many instances of it may run at the same time, over all its runs.
    MaxConcurrency(Option<u64>),
    /// A limit, by name, of all its runs that ask for no other.
    Limit(String, Option<u64>),
}

impl Catalog {
    /// Over the records of `storage`.
    pub fn new(storage: Storage) -> Self {
        Self { storage }
    }

    /// Adds a version of a component and makes it the active one; the same bytes
    /// are never added twice.
    pub fn create(&self, new: &NewComponent<'_>) -> Result<ComponentRecord> {
        self.add(new, Activation::Now).map(|created| created.component)
    }

    /// As [`create`](Self::create); tells what was done.
    pub fn add(&self, new: &NewComponent<'_>, activation: Activation) -> Result<Created> {
        self.add_with(new, activation, &[])
    }

    /// As [`add`](Self::add), with what is set for its procs, by name; all at once.
    pub fn add_with(
        &self,
        new: &NewComponent<'_>,
        activation: Activation,
        settings: &[(String, ProcChange)],
    ) -> Result<Created> {
        self.add_as(&Rights::owner(), new, activation, settings)
    }

    /// As [`add_with`](Self::add_with), if the rights allow it when it is committed;
    /// a user owns the component whose first version it adds.
    pub fn add_as(
        &self,
        rights: &Rights,
        new: &NewComponent<'_>,
        activation: Activation,
        settings: &[(String, ProcChange)],
    ) -> Result<Created> {
        let mut attempt = 1;
        loop {
            // Read first: what changes from here on fails the commit.
            let seen = self.storage.versions_seen(new.name)?;
            match self.try_add((rights, seen), new, activation, settings) {
                Err(_) if attempt < ATTEMPTS && self.storage.versions_seen(new.name)? != seen => attempt += 1,
                other => return other,
            }
        }
    }

    fn try_add(
        &self,
        (rights, seen): (&Rights, VersionsSeen),
        new: &NewComponent<'_>,
        activation: Activation,
        settings: &[(String, ProcChange)],
    ) -> Result<Created> {
        let rights = rights.fresh(&self.storage)?;
        rights.create_component(self, new.name)?;
        let (component, change) = self.preview(new, activation)?;
        let mut write = self.storage.begin();
        write.expect_versions(new.name, seen);
        if change == Change::Created && seen.kept == 0 {
            rights.own(&mut write, &Object::Function(new.name.to_owned()));
        }
        match change {
            Change::Created => write.put_component(component.clone(), new.bytes.to_vec()),
            Change::Activated => write.activate_component(new.name, component.version),
            Change::Unchanged if settings.is_empty() => return Ok(Created { component, change }),
            Change::Unchanged => {}
        }
        for (proc, setting) in settings {
            Self::alter_in(&mut write, new.name, proc, std::slice::from_ref(setting))?;
        }
        write.commit()?;
        Ok(Created { component, change })
    }

    /// What [`add`](Self::add) would do now.
    pub fn preview(&self, new: &NewComponent<'_>, activation: Activation) -> Result<(ComponentRecord, Change)> {
        let versions = self.storage.components(Versions::Kept)?;
        let same = versions.into_iter().find(|kept| kept.name == new.name && kept.sha256 == new.sha256);
        if let Some(same) = same {
            return Ok(match activation {
                Activation::Now if !same.active => (ComponentRecord { active: true, ..same }, Change::Activated),
                _ => (same, Change::Unchanged),
            });
        }
        let record = new.record(self.storage.next_component_version(new.name)?, activation)?;
        Ok((record, Change::Created))
    }

    /// Lets a version answer to the name of its component: back to an older one,
    /// or on to one that was tried out.
    pub fn activate(&self, name: &str, version: u64) -> Result<ComponentRecord> {
        let component = self.storage.component_version(name, version)?;
        let mut write = self.storage.begin();
        write.activate_component(name, version);
        write.commit()?;
        Ok(ComponentRecord { active: true, ..component })
    }

    /// Deletes all versions of a component and what is set for its procs, for the
    /// folder's owner. Runs that use one go on.
    pub fn drop_component(&self, name: &str) -> Result<()> {
        let mut write = self.storage.begin();
        write.drop_component(name);
        write.drop_proc_settings(name);
        write.commit().map(drop)
    }

    /// As [`drop_component`](Self::drop_component), for one who may. Where that is a
    /// user, limits that are stricter than the folder's stay: those that guard its
    /// machine do not end with a component that is made again. Others are not
    /// handed to whoever makes it.
    pub fn drop_component_as(&self, rights: &Rights, folder: &Limits, name: &str) -> Result<()> {
        if rights.user().is_none() {
            return self.drop_component(name);
        }
        let mut write = self.storage.begin();
        write.drop_component(name);
        write.keep_stricter_settings(name, folder);
        write.commit().map(drop)
    }

    /// Deletes one version, not the one that answers to the name.
    pub fn drop_version(&self, name: &str, version: u64) -> Result<()> {
        if self.storage.component_version(name, version)?.active {
            return Err(Error::Invalid(format!(
                "version {version} of component `{name}` is active; activate another version first, or delete the \
                 whole component"
            )));
        }
        let mut write = self.storage.begin();
        write.drop_component_version(name, version);
        write.commit().map(drop)
    }

    /// Frees what only deleted versions use. To be called before runs execute.
    pub fn remove_leftovers(&self) -> Result<()> {
        self.storage.remove_unused_components()
    }

    /// The active versions, by name.
    pub fn list(&self) -> Result<Vec<ComponentRecord>> {
        self.storage.components(Versions::Active)
    }

    /// All versions that can be executed, by name and number.
    pub fn versions(&self) -> Result<Vec<ComponentRecord>> {
        self.storage.components(Versions::Kept)
    }

    /// The active version of a component.
    pub fn component(&self, name: &str) -> Result<ComponentRecord> {
        self.storage.component(name)
    }

    /// A version of a component.
    pub fn version(&self, name: &str, version: u64) -> Result<ComponentRecord> {
        self.storage.component_version(name, version)
    }

    /// The file of a component.
    pub fn bytes(&self, component: &ComponentRecord) -> Result<Vec<u8>> {
        self.storage.component_bytes(&component.sha256)
    }

    /// The procs that a version of a component declares.
    pub fn declared(component: &ComponentRecord) -> Result<Vec<ProcSpec>> {
        serde_json::from_str(&component.procs).map_err(|e| Error::Corrupt {
            what: format!("component `{}`", component.name),
            reason: format!("its declarations cannot be read ({e}); create it again"),
        })
    }

    /// What is set for a proc, over all versions of its component.
    pub fn setting(&self, component: &str, proc: &str) -> Result<ProcSetting> {
        self.storage.proc_setting(component, proc)
    }

    /// How many instances of a proc may run at the same time, over all runs of all
    /// versions of its component; as many as there are places where nothing is set.
    pub fn max_concurrency(&self, component: &str, proc: &str) -> Result<Option<u64>> {
        Ok(self.setting(component, proc)?.max_concurrency)
    }

    /// Changes what is set for a proc, all of it or nothing. The proc must be
    /// declared by a version of the component.
    pub fn alter_proc(&self, component: &str, proc: &str, changes: &[ProcChange]) -> Result<()> {
        self.check_declared(component, proc)?;
        let mut write = self.storage.begin();
        Self::alter_in(&mut write, component, proc, changes)?;
        write.commit().map(drop)
    }

    /// Adds changes of what is set for a proc to `write`.
    fn alter_in(write: &mut Write, component: &str, proc: &str, changes: &[ProcChange]) -> Result<()> {
        for change in changes {
            if let ProcChange::MaxConcurrency(instances) = change {
                Self::check_max_concurrency(component, proc, *instances)?;
            }
        }
        let changes = changes.to_vec();
        write.change_proc_setting(component, proc, move |setting| {
            changes.iter().try_for_each(|change| match change {
                ProcChange::MaxConcurrency(instances) => {
                    setting.max_concurrency = *instances;
                    Ok(())
                }
                ProcChange::Limit(name, Some(value)) => setting.limits.set(name, *value),
                ProcChange::Limit(name, None) => setting.limits.unset(name),
            })
        });
        Ok(())
    }

    /// Refuses a bound under which no instance could run.
    pub fn check_max_concurrency(component: &str, proc: &str, instances: Option<u64>) -> Result<()> {
        match instances {
            Some(0) => Err(Error::Invalid(format!(
                "max_concurrency of proc `{component}.{proc}` must be 1 or more; `none` lifts the bound"
            ))),
            _ => Ok(()),
        }
    }

    /// What is set for procs.
    pub fn proc_settings(&self) -> Result<Vec<ProcSetting>> {
        self.storage.proc_settings()
    }

    /// Sets how many instances of a proc may run at the same time; `None` lifts
    /// the bound.
    pub fn set_max_concurrency(&self, component: &str, proc: &str, instances: Option<u64>) -> Result<()> {
        self.alter_proc(component, proc, &[ProcChange::MaxConcurrency(instances)])
    }

    /// Refuses a proc that no version of the component declares.
    fn check_declared(&self, component: &str, proc: &str) -> Result<()> {
        let versions = self.versions()?.into_iter().filter(|version| version.name == component);
        let declared = versions.map(|version| Self::declared(&version)).collect::<Result<Vec<_>>>()?;
        let names: Vec<String> = declared.into_iter().flatten().map(|spec| spec.name).collect();
        if names.is_empty() {
            self.component(component)?;
        }
        if !names.iter().any(|name| name == proc) {
            let within = Some(format!("component `{component}`"));
            return Err(Error::not_found("proc", proc, within, names));
        }
        Ok(())
    }
}
