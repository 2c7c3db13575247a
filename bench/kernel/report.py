#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# report.py - prints what bench-kernel measured, and holds it against the bars.
#
# usage: report.py [--json] [--no-bars] RELEASE PACKAGE FIRST-RUN SECOND-RUN
#
# Both runs must be whole and have the same rows.  Exit status: 0, 1 if a bar
# is missed, 2 if the runs cannot be read.
import argparse
import json
import sys
from typing import NamedTuple


class Key(NamedTuple):
    """Where and what a row measured."""
    cgroup: str
    layout: str
    watches: int
    language: str
    name: str


class Row(NamedTuple):
    """Samples of so many operations: their count, and instructions."""
    samples: int
    ops: int
    least: int
    median: int
    most: int

    @property
    def each(self):
        """Instructions of one operation."""
        return self.median / self.ops


class Bar(NamedTuple):
    """What was asked for, and what was measured."""
    text: str
    limit: float
    measured: float
    where: str

    @property
    def met(self):
        return self.measured <= self.limit


def fail(message):
    print(f'report.py: {message}', file=sys.stderr)
    sys.exit(2)


def read_run(path):
    rows = {}
    try:
        with open(path, encoding='utf-8') as file:
            for line in file:
                cgroup, layout, watches, language, name, *numbers = \
                    line.rstrip('\n').split('\t')
                key = Key(cgroup, layout, int(watches), language, name)
                rows[key] = Row(*map(int, numbers))
    except (OSError, ValueError, TypeError) as error:
        fail(f'{path}: {error}')
    return rows


def compare(first, second):
    """The rows of the second run that differ from the first."""
    if first.keys() != second.keys() or not first:
        fail('the runs do not have the same rows')
    return {key: (first[key], second[key]) for key in first
            if first[key].median != second[key].median}


def slower(first, second):
    """Of each row, the run that needed more."""
    return {key: max(first[key], second[key], key=lambda row: row.median)
            for key in first}


class Results:
    """The rows, by what one asks for."""

    def __init__(self, rows):
        self.rows = rows

    def values(self, field):
        return sorted({getattr(key, field) for key in self.rows})

    def get(self, cgroup, layout, watches, language, name):
        return self.rows.get(Key(cgroup, layout, watches, language, name))

    def added(self, cgroup, layout, watches, language, name, worst=False):
        """Instructions more than without the device, for an operation."""
        row = self.get(cgroup, layout, watches, language, name)
        base = self.get(cgroup, layout, watches, 'none', name)
        if not row or not base:
            return None
        value = row.most if worst and row.ops == 1 else row.median
        return (value - base.median) / row.ops

    def hit_over_miss(self, layout, watches, name):
        """What a hit adds to the cheaper of the two misses."""
        hit = self.added('root', layout, watches, 'new', name)
        misses = [self.added('root', layout, watches, 'new', miss)
                  for miss in ('madvise-beside', 'madvise-apart')]
        return None if hit is None else hit - min(misses)


def worst(candidates):
    """The largest (value, where) whose value is there."""
    there = [one for one in candidates if one[0] is not None]
    if not there:
        fail('rows that a bar needs are missing')
    return max(there)


def number(watches):
    return f'{watches // 1000}k' if watches else '0'


def miss_bars(results):
    for name, text in (('madvise-beside', 'with watches in its 2 MiB'),
                       ('madvise-apart', 'with none in its 2 MiB')):
        found = worst(
            (results.added('root', layout, watches, 'new', name, True),
             f'{layout}, {number(watches)} watches, worst gap')
            for layout in results.values('layout')
            for watches in results.values('watches'))
        yield Bar(f'a miss adds to MADV_DONTNEED, {text}', 347, *found)


def hit_bars(results):
    names = {'madvise-hit': 'alone', 'madvise-hits': 'after others'}
    found = worst(
        (results.hit_over_miss(layout, watches, name),
         f'{layout}, {number(watches)} watches, {names[name]}')
        for layout in results.values('layout') for name in names
        for watches in results.values('watches'))
    yield Bar('a first hit adds to a miss', 500, *found)

    growth = []
    for layout in results.values('layout'):
        for name, how in names.items():
            few = results.hit_over_miss(layout, 1000, name)
            many = results.hit_over_miss(layout, 100000, name)
            if few and many is not None:
                growth.append((100 * (many / few - 1), f'{layout}, {how}'))
    yield Bar('and grows from 1k to 100k watches, %', 25, *worst(growth))


def call_bars(results):
    for name, text, limits in (
            ('watch', 'watch, one', {1000: 1100, 100000: 1300}),
            ('watch-batch', 'watch, batched', {1000: 500, 100000: 650}),
            ('unwatch', 'unwatch, one', {1000: 900, 100000: 900}),
            ('unwatch-batch', 'unwatch, batched', {1000: 900, 100000: 900})):
        for watches, limit in limits.items():
            rows = ((results.get('root', layout, watches, 'new', name), layout)
                    for layout in results.values('layout'))
            yield Bar(f'{text}, at {number(watches)}', limit,
                      *worst((row and row.each, layout)
                             for row, layout in rows))


def event_bars(results):
    for name, text, limit in (
            ('drain-log', 'draining 1,000 events, each', 23),
            ('check', 'the check', 4)):
        yield Bar(text, limit, *worst(
            (row.each, f'{key.layout}, {number(key.watches)} watches')
            for key, row in results.rows.items()
            if key.name == name and key.cgroup == 'root'))


def show(value, digits=0):
    return '-' if value is None else f'{value:,.{digits}f}'


def table(heading, columns, lines):
    if not lines:
        return
    print()
    print(heading)
    width = max(len(line[0]) for line in lines)
    print(' ' * (width + 2) + ''.join(f'{column:>10}' for column in columns))
    for name, *cells in lines:
        print(f'  {name:<{width}}' + ''.join(f'{cell:>10}' for cell in cells))


OPERATIONS = (
    ('madvise-beside', 'MADV_DONTNEED, gap beside watches'),
    ('madvise-apart', 'MADV_DONTNEED, gap apart'),
    ('madvise-hit', 'MADV_DONTNEED, a hit'),
    ('madvise-hits', 'MADV_DONTNEED, a hit after others'),
    ('munmap-beside', 'munmap, gap beside watches'),
    ('munmap-apart', 'munmap, gap apart'),
    ('munmap-hit', 'munmap, a hit'),
)
RANGES = (
    ('madvise-range', 'MADV_DONTNEED'),
    ('madvise-range-empty', 'MADV_DONTNEED, no page is there'),
    ('munmap-range', 'munmap'),
)
CALLS = (
    ('new', 'watch', 'watch'),
    ('new', 'watch-batch', 'watch, batched'),
    ('new', 'growing', 'watch, batched, all from the first one'),
    ('new', 'unwatch', 'unwatch'),
    ('new', 'unwatch-batch', 'unwatch, batched'),
    ('new', 'rearm', 'rearm'),
    ('new', 'rearm-batch', 'rearm, batched'),
    ('2010', 'register', 'register (2010)'),
    ('2010', 'unregister', 'unregister (2010)'),
    ('new', 'madvise-wakeup', 'MADV_DONTNEED, a hit that wakes a thread'),
    ('2010', 'madvise-wakeup', 'the same (2010)'),
)
EVENTS = (
    ('new', 'drain-log', 'event of 1,000, from the log'),
    ('2010', 'drain-read', 'event of 1,000, by one read() (2010)'),
    ('2010', 'drain-read-pieces', 'event of 1,000, 16 a read() (2010)'),
    ('new', 'check', 'ummu_watch_valid()'),
    ('new', 'check-copy', 'ummu_watch_valid(), on a copy of the handle'),
)


def print_operations(results, cgroup, layout, language):
    counts = results.values('watches')
    lines = []
    for name, text in OPERATIONS:
        base = [results.get(cgroup, layout, n, 'none', name) for n in counts]
        base = [row.each for row in base if row]
        cells = [results.added(cgroup, layout, n, language, name)
                 for n in counts]
        if base and any(cell is not None for cell in cells):
            lines.append((text, show(max(base)), *map(show, cells)))
    table(f'{cgroup} cgroup, {layout} watches'
          f'{", regions of 2010" if language == "2010" else ""}: '
          'without a notifier, and what it adds with so many watches',
          ('none', *map(number, counts)), lines)

    lines = []
    for name, text in RANGES:
        cells = [results.added(cgroup, layout, n, language, name)
                 for n in counts[1:]]
        if any(cell is not None for cell in cells):
            lines.append((text, *map(show, cells)))
    table('one operation that hits 1,000 watches: what it adds for each',
          tuple(map(number, counts[1:])), lines)


def print_calls(results, cgroup, layout):
    counts = [n for n in results.values('watches') if n]
    lines = []
    for language, name, text in CALLS:
        rows = [results.get(cgroup, layout, n, language, name)
                for n in counts]
        if any(rows):
            lines.append((text, *(show(row and row.each) for row in rows)))
    table(f'{cgroup} cgroup, {layout} watches: the calls, for one watch, '
          'beside so many', tuple(map(number, counts)), lines)


def print_events(results, cgroup, layout):
    counts = [n for n in results.values('watches') if n]
    lines = []
    for language, name, text in EVENTS:
        rows = [results.get(cgroup, layout, n, language, name)
                for n in counts]
        if any(rows):
            lines.append((text, *(show(row and row.each, 1) for row in rows)))
    table(f'{cgroup} cgroup, {layout} watches: without a call, or nearly',
          tuple(map(number, counts)), lines)


def print_floor(results, cgroup):
    lines = []
    for language, name, text in (('none', 'getppid', 'getppid()'),
                                 ('new', 'ioctl', 'UMMUNOTIFY_DRAINED')):
        row = results.get(cgroup, 'dense', 0, language, name)
        if row:
            lines.append((text, show(row.each)))
    table(f'{cgroup} cgroup: a system call that does nothing', ('',), lines)


def print_difference(rows, different):
    print()
    if not different:
        print(f'All {len(rows)} rows are the same in both runs.')
        return
    share, key = max((abs(first.median / second.median - 1), key)
                     for key, (first, second) in different.items())
    first, second = different[key]
    print(f'{len(rows) - len(different)} of {len(rows)} rows are the same in '
          'both runs.  Of the others the larger number is shown;')
    print(f'they differ by {100 * share:.2f} % at most: {key.name} '
          f'({key.language}), {key.cgroup} cgroup, {key.layout}, '
          f'{number(key.watches)} watches:')
    print(f'{show(first.each, 2)} and {show(second.each, 2)}.')


def print_bars(bars):
    width = max(len(bar.text) for bar in bars)
    print()
    print('What was asked for, in the root cgroup')
    print(' ' * (width + 2) + f'{"at most":>10}{"measured":>10}')
    for bar in bars:
        verdict = 'PASS' if bar.met else \
            f'MISSED by {show(bar.measured - bar.limit, 1)}'
        print(f'  {bar.text:<{width}}{show(bar.limit):>10}'
              f'{show(bar.measured, 1):>10}  {verdict} ({bar.where})')


def print_all(results, rows, different, bars):
    for cgroup in sorted(results.values('cgroup'), reverse=True):
        print_floor(results, cgroup)
        for layout in results.values('layout'):
            for language in ('new', '2010'):
                print_operations(results, cgroup, layout, language)
            print_calls(results, cgroup, layout)
            print_events(results, cgroup, layout)
    print_difference(rows, different)
    if bars:
        print_bars(bars)


def as_json(rows, different, bars, arguments):
    return {
        'release': arguments.release,
        'package': arguments.package,
        'rows': [{**key._asdict(), **row._asdict()}
                 for key, row in rows.items()],
        'different': [{**key._asdict(), 'medians': [a.median, b.median]}
                      for key, (a, b) in different.items()],
        'bars': [{**bar._asdict(), 'met': bar.met} for bar in bars],
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--json', action='store_true')
    parser.add_argument('--no-bars', action='store_true')
    for name in ('release', 'package', 'first', 'second'):
        parser.add_argument(name)
    arguments = parser.parse_args()

    first, second = read_run(arguments.first), read_run(arguments.second)
    different = compare(first, second)
    rows = slower(first, second)
    results = Results(rows)
    bars = [] if arguments.no_bars else [
        *miss_bars(results), *hit_bars(results), *call_bars(results),
        *event_bars(results)]
    if arguments.json:
        print(json.dumps(as_json(rows, different, bars, arguments), indent=1))
    else:
        print(f'Instructions on Linux {arguments.release} '
              f'(package version {arguments.package})')
        print_all(results, rows, different, bars)
    return 0 if all(bar.met for bar in bars) else 1


if __name__ == '__main__':
    sys.exit(main())
