"""The demo's training in PyTorch: python mnist_torch.py THREADS MNIST_FOLDER

Network 784-256-256-10, Adam 1e-3, batches of 100, shuffled, rows kept as
float32. Prints one JSON object: seconds of each epoch, test accuracy, seconds to
infer the 10,000 test images.
"""

import gzip
import json
import sys
import time

import numpy as np
import torch

threads, folder = int(sys.argv[1]), sys.argv[2] + "/"
torch.set_num_threads(threads)


def images(name):
    pixels = np.frombuffer(gzip.open(folder + name).read(), np.uint8, offset=16)
    return torch.tensor(pixels.reshape(-1, 784)).float() / 255


def labels(name):
    return torch.tensor(np.frombuffer(gzip.open(folder + name).read(), np.uint8, offset=8)).long()


x, y = images("train-images-idx3-ubyte.gz"), labels("train-labels-idx1-ubyte.gz")
x_test, y_test = images("t10k-images-idx3-ubyte.gz"), labels("t10k-labels-idx1-ubyte.gz")

torch.manual_seed(1)
layer, relu = torch.nn.Linear, torch.nn.ReLU
net = torch.nn.Sequential(layer(784, 256), relu(), layer(256, 256), relu(), layer(256, 10))
optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
epochs = []
for _ in range(5):
    start = time.perf_counter()
    order = torch.randperm(60000)
    for i in range(0, 60000, 100):
        rows = order[i : i + 100]
        loss = torch.nn.functional.cross_entropy(net(x[rows]), y[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    epochs.append(time.perf_counter() - start)
with torch.no_grad():
    start = time.perf_counter()
    accuracy = (net(x_test).argmax(1) == y_test).float().mean().item()
    inference = time.perf_counter() - start
print(json.dumps({"version": torch.__version__, "epochs_s": epochs, "accuracy": accuracy, "inference_s": inference}))
