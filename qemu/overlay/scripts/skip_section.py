# The section "skip" of a migration, for analyze-migration.py
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The format is in migration/skip/section.h.


class SkipSection(object):
    VERSION = 2
    LAST, MAP, WORD, EMPTY, SYNC = range(5)
    NAMES = {MAP: 'map', WORD: 'word', EMPTY: 'empty', SYNC: 'synchronize'}

    def __init__(self, file, version_id, device, section_key):
        if version_id != self.VERSION:
            raise Exception("Unknown skip version %d" % version_id)
        self.file = file
        self.section_key = section_key
        self.records = []

    def read(self):
        # Version, flags, and the size of a balloon page
        self.file.readvar(12)
        while True:
            kind = self.file.read8()
            if kind == self.LAST:
                return
            if kind not in self.NAMES:
                raise Exception("Unknown skip record %d" % kind)
            record = {'record': self.NAMES[kind]}
            if kind != self.SYNC:
                record['block'] = self.file.readstr()
                record['pages'] = self.file.read64()
            if kind in (self.MAP, self.WORD):
                record['segments'] = self.file.readvar(self.file.read32()).hex()
            self.records.append(record)

    def getDict(self):
        return self.records
