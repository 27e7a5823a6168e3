/** What things are called on screens. Where no name is known, the first eight digits of an id: never a made-up name. */
import type { ChannelId, ChannelView, DeviceId, IncidentView, MemberId, Row, UnitId } from '~/model/engine';
import type { ConsultView } from '~/model/on-call';
import type { World } from '~/model/world.svelte';
import { t, type Key } from '~/words/words.svelte';

const kinds: ReadonlySet<string> = new Set(['EDP', 'MNTL', 'SUICTHRT', 'WELFARE', 'OD']);

/** Our own label for a type code. */
export function kindLabel(code: string): string {
    return kinds.has(code) ? t(`type.${code}` as Key) : t('type.other', { code: code || '?' });
}

export function incidentName(incident: IncidentView): string {
    if (!incident.details) return t('channel.incident_unknown', { id: incident.id.slice(0, 8) });
    const { typeCode, address, district } = incident.details;
    const where = address || district;
    return where ? `${kindLabel(typeCode)}, ${where}` : kindLabel(typeCode);
}

export function channelName(world: World, id: ChannelId): string {
    const channel = world.channels.get(id);
    return channel ? nameOf(world, channel) : id.slice(0, 8);
}

function nameOf(world: World, channel: ChannelView): string {
    switch (channel.purpose) {
        case 'unit':
            return world.unitName((channel.subject ?? channel.id) as UnitId);
        case 'agency':
            return t('channel.agency');
        case 'desk':
            return t('channel.desk', { name: world.me?.agencyLabel ?? '' });
        case 'incident': {
            const incident = [...world.incidents.values()].find((one) => one.id === channel.subject);
            const name = incident
                ? incidentName(incident)
                : t('channel.incident_unknown', { id: (channel.subject ?? channel.id).slice(0, 8) });
            return channel.compartment === 'operations' ? name : t('channel.clinical', { name });
        }
        case 'consult': {
            const consult = [...world.consults.values()].find((one) => one.channel === channel.id);
            if (consult) return t('channel.consult', { name: askerName(world, consult) });
            return otherName(channel);
        }
        case 'on_call':
            return otherName(channel);
    }
}

/** Whoever asks: the unit, since the others of it are there too; the person where there is none. */
export function askerName(world: World, consult: Pick<ConsultView, 'unit' | 'member'>): string {
    return consult.unit === null ? world.memberName(consult.member) : world.unitName(consult.unit);
}

function otherName(channel: ChannelView): string {
    return t('channel.other', { purpose: t(`purpose.${channel.purpose}`), id: channel.id.slice(0, 8) });
}

/** A member by name; a device without one by its id. */
export function personName(world: World, member: MemberId | null, device: DeviceId): string {
    return member === null ? t('device.name', { id: device.slice(0, 8) }) : world.memberName(member);
}

export function senderName(world: World, row: Row): string {
    return row.mine ? t('chat.you') : personName(world, row.member, row.device);
}
