//! One device, with its kernels, that executes what was recorded.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::compiling::compile;
use super::library::Library;
use super::recorder::{CALL_FLOP, Command, REPORT_BYTES, Recorder, Report};
use crate::base::{Error, Result};
use crate::device::cuda::{Cuda, Gpu, Graph};
use crate::device::{Block, Charge, Owner, Pool, Quota};
use crate::tensor::call::Operands;
use crate::tensor::notice::Teller;
use crate::tensor::op::Op;
use crate::tensor::ops::elementwise::Fused;
use crate::tensor::team::Lanes;

/// Work the device is given at once, some milliseconds or 64 calls: then it is waited
/// for and others have their turn, so that a kill or a deadline finds little on its way.
const UNATTENDED_FLOP: u64 = 64 * CALL_FLOP;

/// Calls of a graph at most, since it cannot be ended in between.
const GRAPH_CALLS: usize = 1024;

/// Work of a graph at most, for the same reason.
const GRAPH_FLOP: u64 = 16 * UNATTENDED_FLOP;

/// Device memory that a driver takes for each call of a graph, about.
const GRAPH_CALL_BYTES: u64 = 2 << 10;

/// Device memory that cuBLAS and loaded kernels take for themselves, about.
const LIBRARIES_BYTES: u64 = 128 << 20;

/// Parameters of one operation at most.
const MAX_PARAMS: usize = 6;

/// A device and its kernels.
pub(crate) struct Machine {
    pool: Arc<Pool>,
    /// The device as this session first found it; none where nothing is executed,
    /// only prepared.
    cuda: OnceLock<Arc<Cuda>>,
    library: Arc<Library>,
    scalars_bytes: AtomicU64,
    checks_bytes: AtomicU64,
    compile_us: AtomicU64,
    teller: Teller,
}

/// What a program needs besides the memory of its values.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    scratch_bytes: usize,
    reports: usize,
    params: usize,
    calls: usize,
    flop: u64,
}

impl Needs {
    /// Whether the program is short enough for a graph.
    pub(crate) fn fits_graph(&self) -> bool {
        self.calls <= GRAPH_CALLS && self.flop <= GRAPH_FLOP
    }

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

/// A program as one graph, with values at the addresses at which it was recorded.
pub(crate) struct Captured {
    graph: Graph,
    reports: Vec<Report>,
    _charge: Charge,
}

/// Whether a graph was replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replayed {
    /// It was.
    Done,
    /// The device had no memory to begin with it: nothing was done.
    NotBegun,
}

/// Whether the device has more to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum More {
    Yes,
    No,
}

/// A value that a graph makes at one address and that is wanted at another.
pub(crate) struct Made {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) bytes: usize,
}

/// A program of one operation executed on its own.
pub(crate) struct Single<'a> {
    pub(crate) op: &'a Op,
    pub(crate) operands: &'a Operands<'a>,
    /// From its own on.
    pub(crate) params: &'a [u64],
}

impl Machine {
    /// For the device whose memory is in `pool`.
    pub(crate) fn new(pool: &Arc<Pool>) -> Self {
        Self::with(pool, Arc::default(), Teller::default())
    }

    /// The same kernels for a session, on the device as that finds it: when it is
    /// lost, what the session has is lost with it, also if it is opened again.
    pub(crate) fn for_session(&self, teller: &Teller) -> Arc<Self> {
        Arc::new(Self::with(&self.pool, self.library.clone(), teller.clone()))
    }

    fn with(pool: &Arc<Pool>, library: Arc<Library>, teller: Teller) -> Self {
        let (scalars_bytes, checks_bytes, compile_us) = Default::default();
        Self { pool: pool.clone(), cuda: OnceLock::new(), library, scalars_bytes, checks_bytes, compile_us, teller }
    }

    /// Bytes of scalars copied to the device, and of what checks found copied from it.
    pub(crate) fn moved_bytes(&self) -> (u64, u64) {
        (self.scalars_bytes.load(Ordering::Relaxed), self.checks_bytes.load(Ordering::Relaxed))
    }

    /// Time spent waiting for kernels to be compiled and loaded, and cuBLAS to be opened.
    pub(crate) fn compile_time(&self) -> Duration {
        Duration::from_micros(self.compile_us.load(Ordering::Relaxed))
    }

    /// Has everything on the device that these commands need.
    fn compile(&self, commands: &[Command], lanes: &Lanes) -> Result<()> {
        let begun = Instant::now();
        let mut compiled = compile(self.cuda()?, commands, lanes, &self.teller);
        // Memory that libraries take for themselves is not the pool's: what that keeps or
        // can do without makes room for it.
        if matches!(compiled, Err(Error::OutOfMemory { .. })) && self.pool.spare(LIBRARIES_BYTES) {
            compiled = compile(self.cuda()?, commands, lanes, &self.teller);
        }
        let time_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.compile_us.fetch_add(time_us, Ordering::Relaxed);
        compiled
    }

    /// The device.
    fn cuda(&self) -> Result<&Arc<Cuda>> {
        if let Some(cuda) = self.cuda.get() {
            return Ok(cuda);
        }
        let cuda = self.pool.cuda()?.ok_or_else(|| Error::Internal("a machine without a device".to_owned()))?;
        Ok(self.cuda.get_or_init(|| cuda))
    }

    /// Refuses memory that is not this session's device's: what was on a lost device
    /// has addresses that may be others' by now.
    pub(crate) fn check<'a>(&self, mut blocks: impl Iterator<Item = &'a Arc<Block>>) -> Result<()> {
        let cuda = self.cuda()?;
        let Some(block) = blocks.find(|block| !block.is_on(cuda)) else { return Ok(()) };
        cuda.check()?;
        block.check()?;
        Err(Error::Internal(format!("memory that is not on {} in its program", cuda.name())))
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
        let (calls, flop) = recorder.work();
        Needs { scratch_bytes, reports, params: last_param + MAX_PARAMS, calls, flop }
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
        self.compile(&commands, lanes)?;
        let mut calls = calls(&commands);
        self.play((workspace, params), &reports, lanes, |gpu| {
            let mut flop = 0u64;
            while flop < UNATTENDED_FLOP {
                let Some((command, call)) = calls.next() else { return Ok(More::No) };
                lanes.check()?;
                command.play(call, gpu)?;
                flop = flop.saturating_add(command.flop());
            }
            Ok(More::Yes)
        })
    }

    /// What `record` records as a graph, to be replayed.
    pub(crate) fn capture(
        &self,
        workspace: Workspace,
        quota: &Quota,
        lanes: &Lanes,
        record: impl FnOnce(&mut Recorder),
    ) -> Result<Captured> {
        let mut recorder = Recorder::new(&self.library, workspace);
        record(&mut recorder);
        let charge = quota.charge(GRAPH_CALL_BYTES.saturating_mul(recorder.work().0 as u64))?;
        let (commands, reports) = recorder.finish();
        self.compile(&commands, lanes)?;
        let play = |gpu: &Gpu| {
            calls(&commands).try_for_each(|(command, call)| {
                lanes.check()?;
                command.play(call, gpu)
            })
        };
        let graph = self.cuda()?.run_while(|| lanes.check(), |gpu| gpu.capture(play))?;
        Ok(Captured { graph, reports, _charge: charge })
    }

    /// Replays a graph, makes copies of what it made, and waits for both.
    pub(crate) fn replay(
        &self,
        captured: &Captured,
        (workspace, params): (Workspace, &[u64]),
        copies: &[Made],
        lanes: &Lanes,
    ) -> Result<Replayed> {
        let mut replayed = Replayed::Done;
        let result = self.play((workspace, params), &captured.reports, lanes, |gpu| {
            lanes.check()?;
            gpu.replay(&captured.graph).inspect_err(|_| replayed = Replayed::NotBegun)?;
            copies.iter().try_for_each(|made| gpu.copy(made.from, made.to, made.bytes))?;
            Ok(More::No)
        });
        match (result, replayed) {
            (Err(Error::OutOfMemory { .. }), Replayed::NotBegun) => Ok(Replayed::NotBegun),
            (result, _) => result.map(|()| Replayed::Done),
        }
    }

    /// Does `work`, piece by piece, between the upload of the parameters and the look
    /// at the reports.
    fn play(
        &self,
        (workspace, params): (Workspace, &[u64]),
        reports: &[Report],
        lanes: &Lanes,
        mut work: impl FnMut(&Gpu) -> Result<More> + Send,
    ) -> Result<()> {
        let cuda = self.cuda()?;
        let mut params = &params[..params.len().min(workspace.needs.params)];
        let mut found = vec![0u64; reports.len() * REPORT_BYTES / 8];
        loop {
            let more = cuda.run_while(
                || lanes.check(),
                |gpu| {
                    if !params.is_empty() {
                        gpu.upload(bytemuck::cast_slice(params), workspace.params())?;
                        self.scalars_bytes.fetch_add(size_of_val(params) as u64, Ordering::Relaxed);
                        params = &[];
                    }
                    let (more, time) = gpu.timed(&mut work)?;
                    lanes.spend(time);
                    if more == More::No && !found.is_empty() {
                        gpu.download(workspace.reports(), bytemuck::cast_slice_mut(&mut found))?;
                        self.checks_bytes.fetch_add(size_of_val(&found[..]) as u64, Ordering::Relaxed);
                    }
                    Ok(more)
                },
            )?;
            lanes.check()?;
            if more == More::No {
                break;
            }
        }
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

/// Each call of each command, with its number.
fn calls(commands: &[Command]) -> impl Iterator<Item = (&Command, usize)> {
    commands.iter().flat_map(|command| (0..command.calls()).map(move |call| (command, call)))
}
