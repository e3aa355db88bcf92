// SPDX-License-Identifier: Apache-2.0
// What a kernel can't find out by itself about the machine: its PCI bus, its serial port and clock, and how to switch
// it off. Addresses and pins agree with src/devices and src/machine/board.cc.
DefinitionBlock ("dsdt.aml", "DSDT", 2, "LOCKST", "LOCKSTEP", 1)
{
    Name (_S5, Package () { 5, 5, 0, 0 })

    Name (PICM, 0)
    Method (_PIC, 1)
    {
        PICM = Arg0
    }

    Scope (_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Name (_CRS, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, 0, 0, 1)
                IO (Decode16, 0x0cf8, 0x0cf8, 1, 8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0x1000, 0xffff, 0, 0xf000)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0, 0xc0000000, 0xfebfffff, 0, 0x3ec00000)
            })

            // Interrupt pin A of device n is pin 16 + n % 4 of the I/O APIC, and input 10 + n % 2 of the 8259s. Which of
            // the two are used, _PIC is told.
            Method (_PRT)
            {
                If (PICM)
                {
                    Return (APIC)
                }
                Return (PICS)
            }

            Name (APIC, Package ()
            {
                Package () { 0x0001ffff, 0, 0, 17 }, Package () { 0x0002ffff, 0, 0, 18 },
                Package () { 0x0003ffff, 0, 0, 19 }, Package () { 0x0004ffff, 0, 0, 16 },
                Package () { 0x0005ffff, 0, 0, 17 }, Package () { 0x0006ffff, 0, 0, 18 },
                Package () { 0x0007ffff, 0, 0, 19 }, Package () { 0x0008ffff, 0, 0, 16 },
                Package () { 0x0009ffff, 0, 0, 17 }, Package () { 0x000affff, 0, 0, 18 },
                Package () { 0x000bffff, 0, 0, 19 }, Package () { 0x000cffff, 0, 0, 16 },
                Package () { 0x000dffff, 0, 0, 17 }, Package () { 0x000effff, 0, 0, 18 },
                Package () { 0x000fffff, 0, 0, 19 }, Package () { 0x0010ffff, 0, 0, 16 },
                Package () { 0x0011ffff, 0, 0, 17 }, Package () { 0x0012ffff, 0, 0, 18 },
                Package () { 0x0013ffff, 0, 0, 19 }, Package () { 0x0014ffff, 0, 0, 16 },
                Package () { 0x0015ffff, 0, 0, 17 }, Package () { 0x0016ffff, 0, 0, 18 },
                Package () { 0x0017ffff, 0, 0, 19 }, Package () { 0x0018ffff, 0, 0, 16 },
                Package () { 0x0019ffff, 0, 0, 17 }, Package () { 0x001affff, 0, 0, 18 },
                Package () { 0x001bffff, 0, 0, 19 }, Package () { 0x001cffff, 0, 0, 16 },
                Package () { 0x001dffff, 0, 0, 17 }, Package () { 0x001effff, 0, 0, 18 },
                Package () { 0x001fffff, 0, 0, 19 }
            })

            Name (PICS, Package ()
            {
                Package () { 0x0001ffff, 0, 0, 11 }, Package () { 0x0002ffff, 0, 0, 10 },
                Package () { 0x0003ffff, 0, 0, 11 }, Package () { 0x0004ffff, 0, 0, 10 },
                Package () { 0x0005ffff, 0, 0, 11 }, Package () { 0x0006ffff, 0, 0, 10 },
                Package () { 0x0007ffff, 0, 0, 11 }, Package () { 0x0008ffff, 0, 0, 10 },
                Package () { 0x0009ffff, 0, 0, 11 }, Package () { 0x000affff, 0, 0, 10 },
                Package () { 0x000bffff, 0, 0, 11 }, Package () { 0x000cffff, 0, 0, 10 },
                Package () { 0x000dffff, 0, 0, 11 }, Package () { 0x000effff, 0, 0, 10 },
                Package () { 0x000fffff, 0, 0, 11 }, Package () { 0x0010ffff, 0, 0, 10 },
                Package () { 0x0011ffff, 0, 0, 11 }, Package () { 0x0012ffff, 0, 0, 10 },
                Package () { 0x0013ffff, 0, 0, 11 }, Package () { 0x0014ffff, 0, 0, 10 },
                Package () { 0x0015ffff, 0, 0, 11 }, Package () { 0x0016ffff, 0, 0, 10 },
                Package () { 0x0017ffff, 0, 0, 11 }, Package () { 0x0018ffff, 0, 0, 10 },
                Package () { 0x0019ffff, 0, 0, 11 }, Package () { 0x001affff, 0, 0, 10 },
                Package () { 0x001bffff, 0, 0, 11 }, Package () { 0x001cffff, 0, 0, 10 },
                Package () { 0x001dffff, 0, 0, 11 }, Package () { 0x001effff, 0, 0, 10 },
                Package () { 0x001fffff, 0, 0, 11 }
            })
        }

        // Ports and memory that belong to the board itself.
        Device (MBRD)
        {
            Name (_HID, EisaId ("PNP0C02"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0600, 0x0600, 1, 12)
                Memory32Fixed (ReadWrite, 0xfec00000, 0x1000)
                Memory32Fixed (ReadWrite, 0xfed00000, 0x400)
                Memory32Fixed (ReadWrite, 0xfee00000, 0x1000)
            })
        }

        Device (RTC)
        {
            Name (_HID, EisaId ("PNP0B00"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0070, 0x0070, 1, 2)
                IRQNoFlags () { 8 }
            })
        }

        Device (COM1)
        {
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, 1)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x03f8, 0x03f8, 1, 8)
                IRQNoFlags () { 4 }
            })
        }
    }
}
