"""Threads beside a test."""
import threading


class UntilTold:
    """`count` threads, each in go_on(number), which ends when `stop` is set: as a context manager, which waits for them."""

    def __init__(self, count):
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.go_on, args=(number,)) for number in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def go_on(self, number):
        raise NotImplementedError
