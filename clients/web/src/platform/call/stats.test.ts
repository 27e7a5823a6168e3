import { describe, expect, test } from 'vitest';
import { countersOf, lossBetween } from './stats';

const received = { type: 'inbound-rtp', bytesReceived: 1_000, packetsReceived: 90, packetsLost: 10 };

describe('what a path counts', () => {
    test('sums everything that came, and says of each line what was decoded', () => {
        const counters = countersOf([
            { ...received, kind: 'audio', mid: 'a' },
            { ...received, kind: 'video', mid: 'b', framesDecoded: 25 },
            { ...received, kind: 'video', mid: 'd', framesDecoded: 0 },
            { type: 'candidate-pair', state: 'succeeded', nominated: true, bytesReceived: 500 },
        ]);
        expect(counters.received).toBe(3_500);
        expect([counters.packetsReceived, counters.packetsLost]).toEqual([270, 30]);
        expect(counters.heard).toBe(90 + 25);
        expect([...counters.framesDecoded]).toEqual([
            ['b', 25],
            ['d', 0],
        ]);
    });

    test('says how long ago the newest packet came, and believes no clock but the one it is told by', () => {
        const at = (timestamp: number, lastPacketReceivedTimestamp: number) => ({
            ...received,
            timestamp,
            lastPacketReceivedTimestamp,
        });
        expect(countersOf([at(5_000, 4_300), at(5_000, 4_800)]).agoMs).toBe(200);
        expect(countersOf([at(5_000, 5_001), at(90_000, 1)]).agoMs).toBe(0);
        expect(countersOf([{ ...received, timestamp: 5_000 }]).agoMs).toBe(0);
    });

    test('counts what was encoded once, however often it was sent', () => {
        const counters = countersOf([
            { type: 'outbound-rtp', kind: 'video', framesEncoded: 40, packetsSent: 400 },
            { type: 'outbound-rtp', kind: 'video', framesEncoded: 20, packetsSent: 100 },
            { type: 'outbound-rtp', kind: 'audio', packetsSent: 60, retransmittedPacketsSent: 10 },
        ]);
        expect([counters.encodedVideo, counters.encodedAudio]).toEqual([60, 50]);
    });

    test('takes the path that is used, and the worst of what others report', () => {
        const used = { type: 'candidate-pair', state: 'succeeded', nominated: true };
        const counters = countersOf([
            {
                ...used,
                currentRoundTripTime: 0.0804,
                availableOutgoingBitrate: 900_000,
                responsesReceived: 3,
            },
            { ...used, nominated: false, currentRoundTripTime: 9, bytesReceived: 7 },
            { ...used, state: 'failed', currentRoundTripTime: 9, bytesReceived: 7 },
            { type: 'remote-inbound-rtp', fractionLost: 0.02 },
            { type: 'remote-inbound-rtp', fractionLost: 0.11 },
            { type: 'remote-inbound-rtp' },
        ]);
        expect(counters).toMatchObject({ rttMs: 80, availableUpBps: 900_000, lossUp: 0.11, received: 3 });
    });

    test('is nothing where a browser says nothing', () => {
        const counters = countersOf([{ type: 'inbound-rtp' }, { type: 'outbound-rtp' }, { type: 'codec' }]);
        expect(counters).toEqual({ ...countersOf([]), framesDecoded: new Map() });
    });
});

describe('loss', () => {
    const at = (packetsReceived: number, packetsLost: number) =>
        countersOf([{ type: 'inbound-rtp', packetsReceived, packetsLost }]);

    test('is the share that was lost since the count before', () => {
        expect(lossBetween(at(90, 10), at(180, 20))).toBeCloseTo(0.1);
        expect(lossBetween(at(90, 10), at(90, 20))).toBe(1);
    });

    test('is none where nothing came, or where what was lost came late', () => {
        expect(lossBetween(at(90, 10), at(90, 10))).toBe(0);
        expect(lossBetween(at(90, 10), at(190, 4))).toBe(0);
    });
});
