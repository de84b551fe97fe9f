//! One device, with its kernels, that executes what was recorded.

use std::sync::Arc;

use super::library::Library;
use super::recorder::{Command, REPORT_BYTES, Recorder, Report};
use crate::base::{Error, Result};
use crate::device::cuda::Cuda;
use crate::device::{Owner, Pool, Quota};
use crate::tensor::call::Operands;
use crate::tensor::op::Op;
use crate::tensor::ops::elementwise::Fused;
use crate::tensor::team::Lanes;

/// Commands the device is given before it is waited for, so that a kill or a deadline
/// finds little on its way.
const UNATTENDED: usize = 64;

/// Parameters of one operation at most.
const MAX_PARAMS: usize = 6;

/// A device and its kernels.
#[derive(Default)]
pub(crate) struct Machine {
    /// None where nothing is executed, only prepared.
    cuda: Option<Arc<Cuda>>,
    library: Arc<Library>,
}

/// What a program needs besides the memory of its values.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    scratch_bytes: usize,
    reports: usize,
    params: usize,
}

impl Needs {
    /// All of it in one piece.
    pub(crate) fn size_bytes(&self) -> usize {
        self.reports * REPORT_BYTES + self.params * 8 + self.scratch_bytes
    }
}

/// Where that is: reports, parameters, scratch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Workspace {
    address: u64,
    needs: Needs,
}

impl Workspace {
    /// At an address that is a multiple of 256.
    pub(crate) fn new(address: u64, needs: Needs) -> Self {
        Self { address, needs }
    }

    /// Address of the scratch.
    pub(crate) fn scratch(&self) -> u64 {
        self.address
    }

    /// Address of the reports.
    pub(crate) fn reports(&self) -> u64 {
        self.address.wrapping_add(self.needs.scratch_bytes as u64)
    }

    /// Address of the parameters.
    pub(crate) fn params(&self) -> u64 {
        self.reports().wrapping_add((self.needs.reports * REPORT_BYTES) as u64)
    }
}

/// A program of one operation executed on its own.
pub(crate) struct Single<'a> {
    pub(crate) op: &'a Op,
    pub(crate) operands: &'a Operands<'a>,
    /// From its own on.
    pub(crate) params: &'a [u64],
}

impl Machine {
    /// The same kernels for a session, on the device of `pool` as it is now: when that
    /// is lost, what the session has is lost with it, also if it is opened again.
    pub(crate) fn for_session(&self, pool: &Pool) -> Arc<Self> {
        let cuda = pool.cuda().ok().flatten();
        Arc::new(Self { cuda, library: self.library.clone() })
    }

    /// Lets unknown chains be compiled together when the first is launched.
    pub(crate) fn prepare<'a>(&self, chains: impl Iterator<Item = &'a Fused>) {
        self.library.prepare(chains);
    }

    /// What `record` needs, for operations whose parameters begin at `last_param` at most.
    pub(crate) fn needs(&self, last_param: usize, record: impl FnOnce(&mut Recorder)) -> Needs {
        let mut recorder = Recorder::new(&self.library, Workspace::default());
        record(&mut recorder);
        let (scratch_bytes, reports) = recorder.needs();
        Needs { scratch_bytes, reports, params: last_param + MAX_PARAMS }
    }

    /// Executes what `record` records, and waits for it.
    pub(crate) fn execute(
        &self,
        workspace: Workspace,
        params: &[u64],
        lanes: &Lanes,
        record: impl FnOnce(&mut Recorder),
    ) -> Result<()> {
        let mut recorder = Recorder::new(&self.library, workspace);
        record(&mut recorder);
        let (commands, reports) = recorder.finish();
        let params = &params[..params.len().min(workspace.needs.params)];
        self.play(&commands, (workspace, params), &reports, lanes)
    }

    fn play(
        &self,
        commands: &[Command],
        (workspace, params): (Workspace, &[u64]),
        reports: &[Report],
        lanes: &Lanes,
    ) -> Result<()> {
        let cuda = self.cuda.as_ref().ok_or_else(|| Error::Internal("the GPU was lost before this run".to_owned()))?;
        let mut found = vec![0u64; reports.len() * REPORT_BYTES / 8];
        cuda.run(|gpu| {
            if !params.is_empty() {
                gpu.upload(bytemuck::cast_slice(params), workspace.params())?;
            }
            for (i, command) in commands.iter().enumerate() {
                lanes.check()?;
                command.play(gpu)?;
                if i % UNATTENDED == UNATTENDED - 1 {
                    gpu.synchronise()?;
                }
            }
            if !found.is_empty() {
                gpu.download(workspace.reports(), bytemuck::cast_slice_mut(&mut found))?;
            }
            gpu.synchronise()
        })?;
        lanes.check()?;
        reports.iter().zip(found.chunks_exact(2)).try_for_each(|(report, found)| report.verdict(found[0], found[1]))
    }

    /// Executes one operation on its own, in memory that it takes and gives back.
    pub(crate) fn single(
        &self,
        single: &Single,
        (pool, quota, owner): (&Pool, &Quota, Owner),
        lanes: &Lanes,
    ) -> Result<()> {
        let record = |on: &mut Recorder| single.op.record(single.operands, 0, on);
        let needs = self.needs(0, record);
        let _charge = quota.charge(needs.size_bytes() as u64)?;
        let block = pool.take(needs.size_bytes(), owner)?;
        self.execute(Workspace::new(block.as_ptr() as u64, needs), single.params, lanes, record)
    }
}
