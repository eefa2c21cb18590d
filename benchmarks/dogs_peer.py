"""The peer of benchmarks/dogs.py: the script that the project began from, as the field writes it in PyTorch.

dogs_peer.py WEIGHTS IMAGES EPOCHS BATCH THREADS crop|none

torchvision's ResNet-50, frozen, with a head 2048→128→133 trained by Adam, images from an ImageFolder through a DataLoader, one
process. Prints a line of JSON with the seconds of each epoch. Two loading processes, which a plain script does not have, so that
decoding goes on beside training as it does in Musher.
"""
import json
import sys
import time

import torch
import torchvision
from torch import nn
from torchvision import transforms


def main():
    weights, images, epochs, batch, threads, augmentation = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.manual_seed(1)
    model = torchvision.models.resnet50()
    model.load_state_dict(torch.load(weights))
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.fc = nn.Sequential(nn.Linear(2048, 128), nn.ReLU(), nn.Linear(128, 133))
    optimizer = torch.optim.Adam(model.fc.parameters(), lr=0.001)
    loss_of = nn.CrossEntropyLoss()
    cut = ([transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip()] if augmentation == "crop" else
           [transforms.Resize(256), transforms.CenterCrop(224)])
    data = torchvision.datasets.ImageFolder(images, transforms.Compose([
        *cut, transforms.ToTensor(), transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]))
    loader = torch.utils.data.DataLoader(data, int(batch), shuffle=True, num_workers=2, persistent_workers=True)
    seconds = []
    for _ in range(int(epochs)):
        model.train()
        started = time.time()
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss_of(model(inputs), targets).backward()
            optimizer.step()
        seconds.append(time.time() - started)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
