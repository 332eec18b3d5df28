"""An LSTM language model (Zaremba et al., 2014) on the words of a text, with the state carried from batch to batch.

python lstm_lm.py TEXT                      with PyTorch
ddpnet run --as-torch lstm_lm.py TEXT       with ddpnet, unchanged
"""

import argparse
import re
from collections import Counter
from pathlib import Path

import torch
import weights
from torch import nn


class LanguageModel(nn.Module):
    def __init__(self, words, width, layers):
        super().__init__()
        self.encoder = nn.Embedding(words, width)
        self.rnn = nn.LSTM(width, width, layers)
        self.decoder = nn.Linear(width, words)

    def forward(self, tokens, state):
        output, state = self.rnn(self.encoder(tokens), state)
        decoded = self.decoder(output)
        return nn.functional.log_softmax(decoded.view(-1, decoded.size(-1)), dim=1), state

    def first_state(self, batch):
        weight = next(self.parameters())
        shape = (self.rnn.num_layers, batch, self.rnn.hidden_size)
        return weight.new_zeros(shape), weight.new_zeros(shape)


def columns(tokens, batch):
    """The text as `batch` columns that are read downwards side by side: (length, batch)."""
    length = tokens.size(0) // batch
    return tokens.narrow(0, 0, length * batch).view(batch, -1).t().contiguous()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=20)
    parser.add_argument("--length", type=int, default=35, help="words of a column in a step")
    parser.add_argument("--words", type=int, default=2000, help="the most frequent ones; others are one word, <unk>")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--lr", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    found = re.findall(r"\w+|[^\w\s]|\n", options.text.read_text(encoding="utf-8"))
    frequent = [word for word, _ in Counter(found).most_common(options.words - 1)]
    number = {word: i + 1 for i, word in enumerate(frequent)}
    data = columns(torch.tensor([number.get(word, 0) for word in found]), options.batch_size)

    model = LanguageModel(len(number) + 1, options.width, options.layers)
    weights.draw(model, options.seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=options.lr)
    criterion = nn.NLLLoss()
    state = model.first_state(options.batch_size)
    for step in range(options.steps):
        start = step * options.length % (data.size(0) - options.length - 1)
        tokens, targets = data[start : start + options.length], data[start + 1 : start + 1 + options.length].reshape(-1)
        state = tuple(part.detach() for part in state)
        model.zero_grad()
        output, state = model(tokens, state)
        loss = criterion(output, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
        print(f"step {step} loss {loss.item():.6f}", flush=True)


if __name__ == "__main__":
    main()
