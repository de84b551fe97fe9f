"""The demo's training in JAX: python mnist_jax.py THREADS MNIST_FOLDER

Network 784-256-256-10, Adam 1e-3, batches of 100, shuffled, rows kept as uint8,
each epoch one jitted scan. Prints one JSON object like mnist_torch.py; the first
epoch, which compiles, is left out.
"""

import gzip
import json
import os
import sys
import time

threads, folder = int(sys.argv[1]), sys.argv[2] + "/"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=" + ("true" if threads > 1 else "false")
if threads == 1:
    os.sched_setaffinity(0, {0})

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def images(name):
    return np.frombuffer(gzip.open(folder + name).read(), np.uint8, offset=16).reshape(-1, 784)


def labels(name):
    return np.frombuffer(gzip.open(folder + name).read(), np.uint8, offset=8).astype(np.int32)


x, y = jnp.array(images("train-images-idx3-ubyte.gz")), jnp.array(labels("train-labels-idx1-ubyte.gz"))
x_test, y_test = jnp.array(images("t10k-images-idx3-ubyte.gz")), labels("t10k-labels-idx1-ubyte.gz")


def init(key):
    sizes, keys = [784, 256, 256, 10], jax.random.split(key, 3)
    normal = lambda i: jax.random.normal(keys[i], (sizes[i], sizes[i + 1])) * np.sqrt(2 / sizes[i])
    return [(normal(i), jnp.zeros(sizes[i + 1])) for i in range(3)]


def forward(parameters, x):
    h = x.astype(jnp.float32) / 255
    for i, (w, b) in enumerate(parameters):
        h = h @ w + b
        if i < 2:
            h = jax.nn.relu(h)
    return h


def loss(parameters, x, y):
    return -jnp.mean(jax.nn.log_softmax(forward(parameters, x))[jnp.arange(y.shape[0]), y])


@jax.jit
def epoch(p, m, v, t, key):
    order = jax.random.permutation(key, 60000).reshape(600, 100)

    def step(carry, rows):
        p, m, v, t = carry
        l, g = jax.value_and_grad(loss)(p, x[rows], y[rows])
        t = t + 1
        m = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, m, g)
        v = jax.tree.map(lambda a, b: 0.999 * a + 0.001 * b * b, v, g)
        update = lambda a, b, c: a - 1e-3 * (b / (1 - 0.9**t)) / (jnp.sqrt(c / (1 - 0.999**t)) + 1e-8)
        return (jax.tree.map(update, p, m, v), m, v, t), l

    (p, m, v, t), losses = lax.scan(step, (p, m, v, t), order)
    return p, m, v, t, losses[-1]


key = jax.random.PRNGKey(1)
p = init(key)
m = v = jax.tree.map(jnp.zeros_like, p)
t, epochs = jnp.float32(0), []
for _ in range(6):
    key, shuffle = jax.random.split(key)
    start = time.perf_counter()
    p, m, v, t, last = epoch(p, m, v, t, shuffle)
    last.block_until_ready()
    epochs.append(time.perf_counter() - start)
infer = jax.jit(lambda p, x: forward(p, x).argmax(1))
infer(p, x_test).block_until_ready()
start = time.perf_counter()
digits = infer(p, x_test).block_until_ready()
inference = time.perf_counter() - start
accuracy = float((np.array(digits) == y_test).mean())
print(json.dumps({"version": jax.__version__, "epochs_s": epochs[1:], "accuracy": accuracy, "inference_s": inference}))
