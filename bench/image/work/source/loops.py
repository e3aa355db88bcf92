# SPDX-License-Identifier: Apache-2.0
"""Loops of the kinds that Python programs are made of; prints a checksum. loops.py ROUNDS"""

import sys


class Account:
    def __init__(self, number):
        self.number = number
        self.balance = 0

    def post(self, amount):
        self.balance += amount
        return self.balance & 1


def primes(limit):
    composite = bytearray(limit)
    for number in range(2, limit):
        if not composite[number]:
            for multiple in range(number * number, limit, number):
                composite[multiple] = 1
    return limit - sum(composite)


def words(count):
    seen = {}
    for number in range(count):
        word = "w" + str(number * 7919 % 1009)
        seen[word] = seen.get(word, 0) + len(word)
    return sum(len(word) * times for word, times in sorted(seen.items()))


def accounts(count):
    all_accounts = [Account(number) for number in range(97)]
    odd = 0
    for number in range(count):
        odd += all_accounts[number % 97].post(number)
    return odd + sum(account.balance for account in all_accounts)


def squares(size):
    rows = [[(row * column) % 10 for column in range(size)] for row in range(size)]
    return sum(sum(a * b for a, b in zip(row, column)) for row in rows for column in zip(*rows))


def main():
    checksum = 0
    for _ in range(int(sys.argv[1])):
        for part in (primes(40000), words(30000), accounts(40000), squares(48)):
            checksum = (checksum * 31 + part) % (1 << 61)
    print(f"{checksum:016x}")


main()
