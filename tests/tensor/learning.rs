//! A network learns the real digits within an epoch.

use quern::tensor::Mode;

use super::support::session;
use crate::support::network::{Network, mnist};

#[test]
fn network_learns_mnist_in_one_epoch() {
    let mut session = session(Mode::Planned);
    let (train, test) = (mnist(&mut session, "train").unwrap(), mnist(&mut session, "t10k").unwrap());
    let mut network = Network::new(&mut session).unwrap();
    for _ in 0..std::env::var("EPOCHS").map_or(1, |n| n.parse().unwrap()) {
        let (loss, time) = network.train_epoch(&mut session, (&train.0, &train.1)).unwrap();
        println!("loss {loss:.4}, {} ms", time.as_millis());
        assert!(loss < 0.25, "loss {loss}");
    }
    let accuracy = network.accuracy(&mut session, (&test.0, &test.1)).unwrap();
    println!("accuracy {accuracy}, {:?}", session.stats());
    assert!(accuracy > 0.955, "accuracy {accuracy}");
    assert!(session.stats().replays >= 590, "{:?}", session.stats());
}
