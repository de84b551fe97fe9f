//! What one instance used. Times are wall times, sizes are bytes; every field
//! carries its unit in its name.

/// The receipt of one instance.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Receipt {
    /// From the start of the instance to its end.
    pub wall_ms: f64,
    /// Making the sandbox: memory, tables, code that is already compiled.
    pub start_ms: f64,
    /// Inside the guest, calls that only record operations included.
    pub guest_ms: f64,
    /// Executing tensor programs; on a GPU as that measured it.
    pub device_ms: f64,
    /// Waiting for kernels of a GPU to be compiled and loaded, and cuBLAS to be opened, the
    /// first time that they are needed.
    pub compile_ms: f64,
    /// Most guest memory at one time, all its memories together.
    pub peak_guest_bytes: u64,
    /// Most device memory of the run at one time, as seen by this instance.
    pub peak_device_bytes: u64,
    /// Bytes copied between host and device.
    pub moved: Moved,
    /// Bytes of inputs copied on the device, to put shards one after the other.
    pub gathered_bytes: u64,
    /// Rows of the inputs that the instance saw.
    pub rows_in: u64,
    /// Rows of the outputs that the instance made.
    pub rows_out: u64,
    /// Calls of the guest into the host, dropped handles included.
    pub host_calls: u64,
    /// Tensor programs that were executed.
    pub programs: u64,
    /// Those of them that were replayed from a plan.
    pub replays: u64,
    /// The device that executed them.
    pub device: String,
}

/// Bytes copied between host and device, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Moved {
    /// Columns of inputs and model files, to the device.
    pub inputs_bytes: u64,
    /// Tensors that the guest gave, to the device.
    pub parameters_bytes: u64,
    /// What the guest read, from the device.
    pub reads_bytes: u64,
    /// Rows of outputs and tensors of saved models, from the device.
    pub outputs_bytes: u64,
    /// Scalars of tensor programs, such as a learning rate, to a GPU.
    pub scalars_bytes: u64,
    /// What checks of indices found, from a GPU.
    pub checks_bytes: u64,
}

impl Moved {
    /// All that went to the device.
    pub fn to_device_bytes(&self) -> u64 {
        self.inputs_bytes + self.parameters_bytes + self.scalars_bytes
    }

    /// All that came from it.
    pub fn from_device_bytes(&self) -> u64 {
        self.reads_bytes + self.outputs_bytes + self.checks_bytes
    }
}
