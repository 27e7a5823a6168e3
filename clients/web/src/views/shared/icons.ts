/** The drawings of Icon.svelte: strokes on a ground of 24 by 24. */
export const drawings = {
    back: 'M15 5l-7 7 7 7',
    close: 'M6 6l12 12M18 6L6 18',
    check: 'M5 13l4.5 4.5L19 7',
    checks: 'M2 13l4 4L14.5 8M11.5 16l1 1L21.5 8',
    clock: 'M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M12 7.5V12l3 2',
    alert: 'M12 3.5L22 20.5H2zM12 10v4.5M12 17v.7',
    bell: 'M6 16.5V11a6 6 0 0 1 12 0v5.5l1.5 2h-15zM10 21h4',
    send: 'M4 4.5l17 7.5-17 7.5 2.5-7.5zM6.5 12H14',
    clip: 'M8 12.5l6.5-6.5a3 3 0 0 1 4.2 4.2l-8.7 8.7a5 5 0 0 1-7-7L11 4',
    camera: 'M3 8h4l1.5-2.5h7L17 8h4v11H3zM12 10a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7',
    place: 'M12 21.5s7-6.5 7-11.5a7 7 0 1 0-14 0c0 5 7 11.5 7 11.5zM12 7.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5',
    people: 'M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7M2.5 20c0-4 3-6 6.5-6s6.5 2 6.5 6M16 4.5a3.5 3.5 0 0 1 0 6M18 14.5c2 .7 3.5 2.5 3.5 5.5',
    phone: 'M5 3.5h4l2 5-2.5 2c1 2.2 2.8 4 5 5l2-2.5 5 2v4c0 1-1 1.5-2 1.5C10.5 20 4 13.5 3.5 5.5c0-1 .5-2 1.5-2z',
    video: 'M3 6.5h12v11H3zM15 10.5l6-3.5v10l-6-3.5',
    video_off: 'M3 3l18 18M6 6.5H3v11h12v-2.5M10 6.5h5v4l6-3.5v10',
    microphone:
        'M12 3.5a2.5 2.5 0 0 0-2.5 2.5v5a2.5 2.5 0 0 0 5 0V6A2.5 2.5 0 0 0 12 3.5M6 11a6 6 0 0 0 12 0M12 17v3.5M9 20.5h6',
    microphone_off:
        'M3 3l18 18M9.5 9.5V11a2.5 2.5 0 0 0 4 2M14.5 10V6a2.5 2.5 0 0 0-4.9-.7M6 11a6 6 0 0 0 9.5 4.9M18 11a6 6 0 0 1-.6 2.6M12 17v3.5M9 20.5h6',
    turn: 'M4 12a8 8 0 0 1 14-5.3V3.5M20 12a8 8 0 0 1-14 5.3v3.2M18 6.7h-3.5M6 17.3h3.5',
    chat: 'M4 5h16v11h-9l-4.5 4v-4H4z',
    hang_up: 'M3 14.5c5-5 13-5 18 0l-2.5 3-3.5-1.5v-2.5c-2-.7-4-.7-6 0V16l-3.5 1.5z',
    pip: 'M3 5h18v14H3zM12 12h6.5v4.5H12z',
    captions: 'M3 5.5h18v13H3zM7 11h4M13.5 11H17M7 14.5h2M11.5 14.5H17',
    keyboard: 'M2.5 6.5h19v11h-19zM6 10h.1M9.5 10h.1M13 10h.1M16.5 10h1.5M7.5 14h9',
    speaker: 'M4 9.5h3.5L12 5.5v13l-4.5-4H4zM15.5 9a4 4 0 0 1 0 6M18 6.5a8 8 0 0 1 0 11',
    lock: 'M6 11h12v9.5H6zM8.5 11V7.5a3.5 3.5 0 0 1 7 0V11',
    key: 'M8 9a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 13h9.5v3.5M18 13v2.5',
    more: 'M4 12a1 1 0 1 0 2 0 1 1 0 1 0-2 0M11 12a1 1 0 1 0 2 0 1 1 0 1 0-2 0M18 12a1 1 0 1 0 2 0 1 1 0 1 0-2 0',
    offline:
        'M3 3l18 18M5 12.5a10 10 0 0 1 4-2.4M19 12.5a10 10 0 0 0-5-2.7M8.5 16a5 5 0 0 1 7 0M12 19.5h.1M2 9a15 15 0 0 1 4-2.5M22 9a15 15 0 0 0-11-3.9',
    pulse: 'M2 12h4l2.5-6 4 13L15.5 9l2 3H22',
    mute: 'M4 9.5h3.5L12 5.5v13l-4.5-4H4zM16 9.5l5 5M21 9.5l-5 5',
    shield: 'M12 3l8 3v6c0 4.5-3.5 7.5-8 9-4.5-1.5-8-4.5-8-9V6z',
    down: 'M6 9l6 6 6-6',
    add: 'M12 5v14M5 12h14',
    menu: 'M4 7h16M4 12h16M4 17h16',
    file: 'M6 3h8l4.5 4.5V21H6zM14 3v5h4.5',
    search: 'M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13M15.5 15.5L21 21',
    map: 'M3 6l6-2.5 6 2.5 6-2.5v14.5L15 20.5 9 18l-6 2.5zM9 3.5V18M15 6v14.5',
} as const;
export type IconName = keyof typeof drawings;
/** These point along the line and turn with it. */
export const turning: ReadonlySet<IconName> = new Set<IconName>(['back', 'send']);
