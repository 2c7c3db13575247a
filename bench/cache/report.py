#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# report.py - prints what bench-cache measured, and holds it against the bars.
#
# usage: report.py ROWS FOLDER
#	report.py --check ROWS
#
# Writes FOLDER/cache.json and, with gnuplot, FOLDER/hits.png and uring.png.
# Exit status: 0; 1: a bar is missed; 2: ROWS cannot be read; 3: no bar is
# missed, but some are inconclusive.  With --check: 1 if a control of ROWS is not
# within 10 % of itself, or shows that the machine does not let two threads run.
import json
import os
import shutil
import statistics
import subprocess
import sys
from typing import NamedTuple

SIZES = (1, 1000, 100000, 1000000)
STEADY = 0.10
TWICE = 1.8  # as fast as one, two threads at least
THREAD_BARS = {1000: 5, 100000: 2.5}  # and so many times as fast as UCX's two


class Key(NamedTuple):
    """What a row measured."""
    name: str
    subject: str
    threads: int
    size: int


class Bar(NamedTuple):
    """What was asked for: a ratio, at least (or at most) so much."""
    text: str
    at_least: bool
    limit: float
    measured: float
    steady: bool

    @property
    def met(self):
        if self.at_least:
            return self.measured >= self.limit
        return self.measured <= self.limit

    @property
    def verdict(self):
        if self.met:
            return 'met'
        return 'missed' if self.steady else 'inconclusive'


def read(path):
    rows = {}
    try:
        with open(path, encoding='utf-8') as file:
            for line in file:
                name, subject, threads, size, *values = line.split()
                key = Key(name, subject, int(threads), int(size))
                rows[key] = [float(value) for value in values]
    except (OSError, ValueError) as error:
        print(f'report.py: {path}: {error}', file=sys.stderr)
        sys.exit(2)
    return rows


def is_steady(values):
    """Are its first and its second half within 10 % of each other?"""
    half = len(values) // 2
    first = statistics.median(values[:half])
    second = statistics.median(values[-half:])
    return abs(first - second) <= STEADY * max(first, second)


def lets_two_run(rows, size):
    """Can two threads do what the bar asks for, with nothing in common?"""
    control = rows.get(Key('control', 'page', 2, size))
    one = rows.get(Key('random', 'page', 1, size))
    return bool(control and one) and is_steady(control) and \
        statistics.median(one) >= TWICE * statistics.median(control)


def is_conclusive(rows):
    storm = rows.get(Key('storm-control', 'page', 2, 1000))
    sizes = {key.size for key in rows if key.name == 'control'}
    return (not storm or is_steady(storm)) and \
        all(lets_two_run(rows, size) for size in sizes & THREAD_BARS.keys())


class Table:
    """The rows, and what follows from them."""

    def __init__(self, rows):
        self.rows = rows
        self.bars = []

    def has(self, *key):
        return Key(*key) in self.rows

    def ns(self, *key):
        return statistics.median(self.rows[Key(*key)])

    def cycle_ns(self, subject, size):
        """A cycle without its map and unmap, which were timed right after it."""
        return statistics.median(
            cycle - plain for cycle, plain in
            zip(self.rows[Key('cycle', subject, 1, size)],
                self.rows[Key('plain-cycle', subject, 1, size)]))

    def bar(self, text, limit, measured, at_least=True, steady=True):
        self.bars.append(Bar(text, at_least, limit, measured, steady))

    def hit_bars(self):
        for size, limit in zip(SIZES, (3, 3, 2, 2)):
            for name in ('hot', 'random'):
                # Hot hits of large caches are those of small ones.
                if name == 'hot' and size > 1000 or \
                        not self.has(name, 'ucx', 1, size):
                    continue
                self.bar(f'a hit, {name}, {size:,} regions: times as fast as UCX',
                         limit, self.ns(name, 'ucx', 1, size) /
                         self.ns(name, 'page', 1, size))

    def thread_bars(self):
        for size, limit in THREAD_BARS.items():
            if not self.has('random', 'page', 2, size):
                continue
            two = self.ns('random', 'page', 2, size)
            steady = lets_two_run(self.rows, size)
            self.bar(f'two threads, {size:,} regions: times as fast as one',
                     TWICE,
                     self.ns('random', 'page', 1, size) / two, steady=steady)
            if self.has('random', 'ucx', 2, size):
                self.bar(f'two threads, {size:,} regions: times as fast as UCX',
                         limit, self.ns('random', 'ucx', 2, size) / two,
                         steady=steady)

    def other_bars(self):
        if self.has('probed-hit', 'uffd', 1, 1):
            self.bar('a hit on userfaultfd: times the bare probe', 1.3,
                     self.ns('probed-hit', 'uffd', 1, 1) /
                     self.ns('probe', 'uffd', 1, 1), at_least=False)
        for size in (0, 1000, 100000):
            if not self.has('cycle', 'ucx', 1, size):
                continue
            self.bar('miss, register, invalidate, deregister beside '
                     f'{size:,} regions: times what UCX takes', 1,
                     self.cycle_ns('page', size) / self.cycle_ns('ucx', size),
                     at_least=False)
        for size in (1000, 10000, 100000, 1000000):
            if self.has('memory', 'page', 1, size):
                self.bar(f'bytes of the cache for each of {size:,} regions', 256,
                         self.ns('memory', 'page', 1, size), at_least=False)
        if self.has('storm', 'page', 2, 1000):
            control = self.rows[Key('storm-control', 'page', 2, 1000)]
            self.bar('hits beside a storm of unmaps: of the speed without watches',
                     0.9, statistics.median(control) /
                     self.ns('storm', 'page', 2, 1000),
                     steady=is_steady(control))

    def all_bars(self):
        self.hit_bars()
        self.thread_bars()
        self.other_bars()
        return self.bars


SUBJECTS = {
    'page': "this cache, the module's check",
    'ucx': "UCX's ucs_rcache",
    'uffd': 'this cache, userfaultfd',
    'atomic': 'plain table, atomic counts',
    'epoch': "the same, libck's epochs",
}


def spread(values):
    return f'{min(values):8.1f} -{max(values):9.1f}'


def print_hits(table):
    print('Hits: get and put of 64 bytes, nanoseconds from one to the next;'
          ' least - most of 9 samples')
    for size in SIZES:
        for name in ('hot', 'random'):
            for threads in (1, 2):
                for subject, words in SUBJECTS.items():
                    key = Key(name, subject, threads, size)
                    if key not in table.rows:
                        continue
                    ratio = ''
                    peer = ('random', 'ucx', threads, size)
                    peer = (name,) + peer[1:]
                    if subject != 'ucx' and table.has(*peer):
                        ratio = f'{table.ns(*peer) / table.ns(*key):7.2f}'
                    print(f'  {size:9,} {name:7} {threads}  {words:32}'
                          f'{table.ns(*key):9.1f}  {spread(table.rows[key])}'
                          f'{ratio:>8}{" x UCX" if ratio else ""}')
        key = Key('control', 'page', 2, size)
        if key in table.rows:
            print(f'  {size:9,} control 2  {"two threads, a cache each":32}'
                  f'{table.ns(*key):9.1f}  {spread(table.rows[key])}'
                  f'   {"steady" if is_steady(table.rows[key]) else "NOT STEADY"}')


def print_others(table):
    print('\nOther rows')
    for key in table.rows:
        if key.name in ('hot', 'random', 'control'):
            continue
        if key.name.startswith('uring'):
            continue
        print(f'  {key.name:20} {key.subject:6} {key.size:9,}'
              f'{table.ns(*key):14.1f}  {spread(table.rows[key])}')


def uring_sizes(table):
    return sorted({key.size for key in table.rows
                   if key.name == 'uring-cached'})


def crossover(table):
    """From which size on registering each time is quicker than a copy."""
    for size in uring_sizes(table):
        each, copied = (next(statistics.median(values)
                             for key, values in table.rows.items()
                             if key.name == name and key.size == size)
                        for name in ('uring-each-time', 'uring-copied'))
        if each < copied:
            return size
    return None


def human(size):
    for unit in ('bytes', 'KiB', 'MiB'):
        if size < 1024:
            return f'{size} {unit}'
        size //= 1024
    return f'{size} GiB'


def print_uring(table):
    if not uring_sizes(table):
        return
    print('\nio_uring fixed buffers, nanoseconds for a message')
    print(f'  {"":10}{"register each time":>20}{"copy":>14}{"cached":>12}')
    for size in uring_sizes(table):
        values = {key.name: table.ns(*key) for key in table.rows
                  if key.name.startswith('uring') and key.size == size}
        print(f'  {human(size):>10}{values["uring-each-time"]:20,.0f}'
              f'{values["uring-copied"]:14,.0f}{values["uring-cached"]:12,.0f}')
    size = crossover(table)
    print('  To register each time is '
          + (f'quicker than to copy from {human(size)} on.' if size else
             'never quicker than to copy.'))


def print_bars(bars):
    print('\nBars')
    for bar in bars:
        sign = '>=' if bar.at_least else '<='
        print(f'  {bar.verdict:13}{bar.measured:9.2f}  {sign} {bar.limit:<5g}'
              f'  {bar.text}')


def write_json(table, bars, folder):
    document = {
        'schema': 1,
        'perf_counters': 'not used: instructions are counted by callgrind,'
                         ' make bench-instructions',
        'rows': [dict(key._asdict(), median=statistics.median(values),
                      least=min(values), most=max(values), samples=values)
                 for key, values in table.rows.items()],
        'bars': [dict(bar._asdict(), verdict=bar.verdict) for bar in bars],
    }
    with open(os.path.join(folder, 'cache.json'), 'w',
              encoding='utf-8') as file:
        json.dump(document, file, indent=1)


def gnuplot(script):
    subprocess.run(['gnuplot'], input=script, text=True, check=True)


def blocks(series):
    """Data for gnuplot: a block of lines for each series."""
    return ''.join(f'${name} << END\n' +
                   ''.join(f'{x} {y} {low} {high}\n'
                           for x, y, low, high in points) + 'END\n'
                   for name, points in series.items())


def points_of(table, name, subject, threads):
    return [(key.size, statistics.median(values), min(values), max(values))
            for key, values in sorted(table.rows.items())
            if (key.name, key.subject, key.threads) == (name, subject, threads)]


def plot_hits(table, folder):
    series, lines = {}, []
    for subject, words in SUBJECTS.items():
        for threads in (1, 2):
            points = points_of(table, 'random', subject, threads)
            if not points:
                continue
            series[f'{subject}{threads}'] = points
            lines.append(f'${subject}{threads} using 1:2:3:4 with yerrorlines'
                         f' dashtype {threads} title "{words}, {threads}"')
    gnuplot(blocks(series) + f'''
set terminal pngcairo size 1000,650
set output "{folder}/hits.png"
set title "Hit (get and put): nanoseconds from one to the next, 1 and 2 threads"
set logscale xy
set xlabel "regions, used at random"
set ylabel "ns"
set key outside bottom center horizontal
set grid
plot {', '.join(lines)}
''')


def plot_uring(table, folder):
    names = {'uring-each-time': 'register each time',
             'uring-copied': 'copy through a registered buffer',
             'uring-cached': 'cached'}
    backend = next(key.subject for key in table.rows
                   if key.name == 'uring-cached')
    series = {name.replace('-', ''): points_of(table, name, backend, 1)
              for name in names}
    size = crossover(table)
    mark = (f'set arrow from {size}, graph 0 to {size}, graph 1 nohead dt 3\n'
            f'set label "registering beats copying from {human(size)}" '
            f'at {size}, graph 0.95 offset 1,0\n') if size else ''
    lines = ', '.join(f'${name.replace("-", "")} using 1:2:3:4 '
                      f'with yerrorlines title "{words}"'
                      for name, words in names.items())
    gnuplot(blocks(series) + mark + f'''
set terminal pngcairo size 1000,650
set output "{folder}/uring.png"
set title "io_uring fixed buffer for one message (cache on {backend})"
set logscale x 2
set logscale y
set xlabel "bytes"
set ylabel "ns"
set key top left
set grid
plot {lines}
''')


def plot(table, folder):
    if not shutil.which('gnuplot'):
        print('gnuplot is not installed: no plots', file=sys.stderr)
        return
    plot_hits(table, folder)
    if uring_sizes(table):
        plot_uring(table, folder)


def main():
    if len(sys.argv) != 3:
        print('usage: report.py ROWS FOLDER', file=sys.stderr)
        sys.exit(2)
    if sys.argv[1] == '--check':
        sys.exit(not is_conclusive(read(sys.argv[2])))
    folder = sys.argv[2]
    table = Table(read(sys.argv[1]))
    bars = table.all_bars()
    print_hits(table)
    print_others(table)
    print_uring(table)
    if not any(key.subject == 'ucx' for key in table.rows):
        print('\nUCX (libucx-dev) is not installed: no rows of it')
    print_bars(bars)
    write_json(table, bars, folder)
    plot(table, folder)
    verdicts = {bar.verdict for bar in bars}
    if 'missed' in verdicts:
        sys.exit(1)
    sys.exit(3 if 'inconclusive' in verdicts else 0)


if __name__ == '__main__':
    main()
