//! Where columns stay, beside a GPU.

use quern::base::Residency;
use quern::run::RunRequest;
use quern::table::Held;

use super::bench::Fake;
use super::runs::{counted, on_gpu, receipts, told};
use crate::run::database::Database;

/// Bytes of the columns that training reads of a row.
const ROW_BYTES: u64 = 784 + 4;

/// Two steps of training.
fn train(table: &str) -> RunRequest {
    let request = RunRequest::new("train").input(table).output("models").param("epochs", "1").param("batch", "20");
    request.param("hidden", "4").param("checkpoint_every", "0")
}

fn set(database: &Database, table: &str, residency: Residency) {
    let table = database.storage.snapshot().unwrap().table(table).unwrap();
    database.tables.set_residency(&table, residency).unwrap();
}

fn held(database: &Database, table: &str) -> Held {
    let id = database.storage.snapshot().unwrap().table(table).unwrap().id;
    database.tables.held().get(&id).copied().unwrap_or_default()
}

#[test]
fn a_run_moves_what_the_residency_of_its_table_says_and_receipts_tell_it() {
    Fake::PLAIN.run(|| {
        let database = on_gpu();
        let all = 40 * ROW_BYTES;
        for shards in [1, 4] {
            for residency in Residency::ALL {
                let table = format!("{residency}{shards}");
                database.images(&table, shards, 40);
                set(&database, &table, residency);
                let again = match residency {
                    Residency::Device | Residency::Pinned => 0,
                    Residency::Host | Residency::Disk => all,
                };
                for inputs in [all, again] {
                    let (status, copied) = counted(&database, train(&table));
                    assert_eq!(told(&status), copied, "{table}");
                    assert_eq!(receipts(&status)[0].moved.inputs_bytes, inputs, "{table}");
                }
                let Held { device_bytes, host_bytes } = held(&database, &table);
                let stays = match residency {
                    Residency::Device | Residency::Pinned => device_bytes >= all && host_bytes == 0,
                    Residency::Host => device_bytes == 0 && host_bytes >= all,
                    Residency::Disk => device_bytes == 0 && host_bytes == 0,
                };
                assert!(stays, "{table}: {device_bytes} bytes on the device, {host_bytes} beside it");
            }
        }
        // From the machine's memory only what is new is read; all of it moves.
        set(&database, "device1", Residency::Host);
        assert_eq!(held(&database, "device1"), Held::default());
        for inputs in [all, all] {
            let (status, copied) = counted(&database, train("device1"));
            assert_eq!((told(&status), receipts(&status)[0].moved.inputs_bytes), (copied, inputs));
        }
    });
}

#[test]
fn pinned_columns_do_not_leave_a_full_gpu() {
    Fake::PLAIN.run(|| {
        let device = quern::device::Device::cuda_with(0, 1, 1 << 20).unwrap();
        let database = Database::on(device.clone(), &[super::runs::MNIST]);
        for (table, residency) in [("pinned", Residency::Pinned), ("other", Residency::Device)] {
            database.images(table, 1, 200);
            set(&database, table, residency);
            assert_eq!(database.run(train(table)).run.error, None);
        }
        let (pinned, other) = (held(&database, "pinned").device_bytes, held(&database, "other").device_bytes);
        assert!(pinned >= 200 * ROW_BYTES && other == pinned, "{pinned} {other}");
        let owner = quern::device::Owner::instance(u64::MAX);
        let taken = device.pool.take(768 << 10, owner).unwrap();
        assert_eq!((held(&database, "pinned").device_bytes, held(&database, "other").device_bytes), (pinned, 0));
        assert!(device.pool.take(256 << 10, owner).is_err());
        assert_eq!(held(&database, "pinned").device_bytes, pinned);
        drop(taken);
        assert_eq!(receipts(&database.run(train("pinned")))[0].moved.inputs_bytes, 0);
    });
}
