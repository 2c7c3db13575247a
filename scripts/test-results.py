#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# test-results.py - turns Meson's log of a test run into one line a test.
#
# usage: test-results.py CONFIGURATION BUILD LOGS
#
# Prints "pass|fail|skip CONFIGURATION/TEST" and writes what failing tests said
# to LOGS/CONFIGURATION_TEST.log.
import json
import pathlib
import sys

configuration, build, logs = sys.argv[1:]
words = {'OK': 'pass', 'EXPECTEDFAIL': 'pass', 'SKIP': 'skip'}

for line in open(f'{build}/meson-logs/testlog.json', encoding='utf-8'):
    test = json.loads(line)
    word = words.get(test['result'], 'fail')
    name = test['name'].split(' / ')[-1].replace(' ', '-')
    print(word, f'{configuration}/{name}')
    if word == 'fail':
        log = pathlib.Path(logs, f'{configuration}_{name}.log')
        log.write_text(f'{test["result"]}, exit status {test["returncode"]}\n'
                       + (test.get('stdout') or '')
                       + (test.get('stderr') or ''), encoding='utf-8')
